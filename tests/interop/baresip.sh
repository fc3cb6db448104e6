# Sourced after lab.sh. baresip HOST ADDRESS CONTROL CERTIFICATE SOUND ACCOUNT : a headless softphone with TLS on port 5061 and its recordings
# in $WORK/NAME. It presents its certificate, as client and as server, and verifies nothing itself. RTCP_MUX=yes: on the port of RTP; MODULES: more of
# them; PRELOAD: a library of ours before its own.
softphone() {
    local name=$1 address=$2 control=$3 certificate=$4 sound=$5 account=$6 folder=$WORK/$1 module
    mkdir -p "$folder/heard"
    cat "$SET/certs/$certificate.pem" "$SET/certs/$certificate.key" >"$folder/certificate.pem"
    {
        # TLS listens on the port after this one.
        echo "sip_listen $address:5060"
        echo "sip_certificate $folder/certificate.pem"
        echo "sip_cafile $SET/certs/ca.pem"
        echo "net_interface $address"
        # No name is ever asked for.
        echo "dns_server 127.0.0.1:1"
        printf '%s\n' "poll_method epoll" "call_local_timeout 30" "call_max_calls 4" "audio_player aubridge,$name" "audio_alert aubridge,alert"
        echo "audio_source aufile,$sound"
        printf '%s\n' "ausrc_srate 8000" "auplay_srate 8000" "ausrc_channels 1" "auplay_channels 1" "audio_txmode thread" "audio_level no"
        printf '%s\n' "rtp_ports 10000-10099" "rtcp_mux ${RTCP_MUX:-no}" "jitter_buffer_delay 5-10" "rtp_stats yes" "menu_bell no"
        echo "module_path /usr/lib/baresip/modules"
        for module in g711 uuid srtp aufile aubridge sndfile ${MODULES:-}; do echo "module $module.so"; done
        for module in account menu ctrl_tcp debug_cmd; do echo "module_app $module.so"; done
        echo "ctrl_tcp_listen $control"
        echo "snd_path $folder/heard"
    } >"$folder/config"
    echo "$account" >"$folder/accounts"
    : >"$folder/contacts"
    start "$name" "$name" ${PRELOAD:+env LD_PRELOAD="$PRELOAD"} timeout 120 baresip -f "$folder" -s -v
    # The control port says nothing about readiness of TLS.
    listening "$name" 5061
}
