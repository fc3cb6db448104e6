//! Calls to a simulated hosted UM: mutual TLS by exact name, SRTP, its own name in To; and its 403 and 488 when one of these is wrong.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use portcullis::app::certs;
use portcullis::policy::settings::SecurityMode;
use portcullis::simulator::connection::{Connection, Identity};
use portcullis::simulator::profile::Profile;
use portcullis::simulator::rules::Rules;
use portcullis::simulator::um::{Settings, Um};

use crate::ports::free_port;
use crate::process::{Border, PATIENCE, Set, portcullis};

const HOSTED: &str = "df6b236d-056d-416a-8f5f-f2e8e1a0238d.um.outlook.com";
const OURS: &str = "sbc.example.com";

/// A hosted UM that knows the border as `gateway`, and a set that leads to it: trunk in clear by interwork, the hosted leg secured.
async fn hosted(gateway: &str, advertised: &str, hosted_name: &str, media: u16) -> (Um, Set, Settings) {
    let set = Set { folder: tempfile::tempdir().unwrap(), sip: free_port(), admin: free_port() };
    let certificates = set.path().join("certs");
    certs::init(&certificates, &certs::Init::new([HOSTED, OURS])).unwrap();
    let file = |name: &str| certificates.join(name);
    let identity = Identity::load(&file(&format!("{HOSTED}.pem")), &file(&format!("{HOSTED}.key")), &file("ca.pem")).unwrap();
    let any = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 6), 0));
    let mut settings = Settings::new(any, any, any, Some([identity.clone(), identity.clone(), identity]));
    settings.media = Ipv4Addr::LOCALHOST.into();
    settings.rules = Rules { hosted_name: Some(HOSTED.into()), gateway_names: vec![gateway.into()], ..Rules::new(Profile::Hosted, SecurityMode::Secured) };
    let um = Um::start(settings.clone()).await.unwrap();
    let (sip, admin, tls) = (set.sip, set.admin, free_port());
    set.write(
        "border.toml",
        &format!(
            "version = 1\nname = \"test\"\n[[listener]]\nname = \"outside\"\ntransport = \"tcp\"\naddress = \"127.0.0.1:{sip}\"\n\
             [[listener]]\nname = \"inside\"\ntransport = \"tls\"\naddress = \"127.0.0.1:{tls}\"\nadvertised = \"{advertised}:{tls}\"\n\
             certificate = \"certs/{OURS}.pem\"\nkey = \"certs/{OURS}.key\"\n\
             [media]\ninside = \"127.0.0.1\"\noutside = \"127.0.0.1\"\nports = [{media}, {}]\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n\
             [records]\nfile = \"records.jsonl\"\n",
            media + 99
        ),
    );
    set.write(
        "peers.toml",
        &format!(
            "version = 1\n[[peer]]\nname = \"trunk\"\nkind = \"trunk\"\nhosts = \"127.0.0.1\"\ntransport = \"tcp\"\nmode = \"unsecured\"\n\
             [[peer]]\nname = \"online\"\nkind = \"um-server\"\nhosts = \"127.0.0.6\"\ntransport = \"tls\"\nport = {}\nmode = \"secured\"\n\
             tls_names = [\"{HOSTED}\"]\nca = \"certs/ca.pem\"\nlistener = \"inside\"\n",
            um.router.port()
        ),
    );
    set.write(
        "um_pools.toml",
        &format!("version = 1\n[[um_pool]]\nname = \"online\"\nversion = \"hosted\"\nhosted_name = \"{hosted_name}\"\nrouters = [\"online\"]\n"),
    );
    set.write("dial_plans.toml", "version = 1\n[[dial_plan]]\nname = \"um\"\ndigits = 4\nmode = \"secured\"\num_pool = \"online\"\ninterwork = [\"trunk\"]\n");
    set.pilot("5000");
    (um, set, settings)
}

async fn refusal(border: &Border) -> String {
    border.call("5000").await.err().map(|failure| failure.to_string()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosted_um_takes_the_call_by_its_own_name_over_tls_with_srtp() {
    let (um, set, settings) = hosted(OURS, OURS, HOSTED, 23_900).await;
    let mut border = set.run();
    let call = border.call("5000").await.unwrap();
    assert!(call.hears(PATIENCE).await.is_clear(), "{:?}", settings.log.lines());
    call.hang_up().await.unwrap();
    let taken = um.until(PATIENCE, |taken| taken.ended).await.unwrap();
    assert!(taken.protected && taken.heard.packets > 0, "{taken:?}");
    assert!(taken.called.starts_with(&format!("sip:5000@{HOSTED}:")) && taken.called.contains("transport=tls"), "{}", taken.called);
    let record = border.record(1);
    assert_eq!((&record["a"]["mode"], &record["b"]["mode"]), (&"unsecured".into(), &"secured".into()));
}

/// The simulated hosted UM answers 488 to any of these.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ice_and_rtcp_mux_of_a_caller_never_reach_hosted_um() {
    let (um, set, settings) = hosted(OURS, OURS, HOSTED, 24_000).await;
    let border = set.run();
    let mut connection = Connection::open(border.address(), None).await.unwrap();
    let local = connection.local;
    let body = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\na=ice-lite\r\na=group:BUNDLE 0\r\nm=audio 40000 RTP/AVP 0 101\r\na=mid:0\r\n\
                a=rtpmap:101 telephone-event/8000\r\na=ice-ufrag:tlMR\r\na=ice-pwd:FuwpNRsfT4UaOKa0ivlnB0n4\r\na=rtcp-mux\r\n\
                a=candidate:1 1 UDP 2130706431 127.0.0.1 40000 typ host\r\na=end-of-candidates\r\n";
    let invite = format!(
        "INVITE sip:5000@{to} SIP/2.0\r\nVia: SIP/2.0/TCP {local};branch=z9hG4bKraw1\r\nMax-Forwards: 70\r\nFrom: <sip:2001@{local}>;tag=raw\r\n\
         To: <sip:5000@{to}>\r\nCall-ID: raw@{local}\r\nCSeq: 1 INVITE\r\nContact: <sip:2001@{local};transport=tcp>\r\nContent-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len(),
        to = border.address()
    );
    connection.send(Bytes::from(invite)).await.unwrap();
    let status = async {
        loop {
            match connection.next().await.unwrap().expect("an open connection").status() {
                Some(status) if status >= 200 => return status,
                _ => {}
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, status).await.unwrap(), 200, "{:?}", settings.log.lines());
    assert_eq!(um.taken().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_host_in_to_is_488_and_another_certificate_403() {
    let (_um, set, settings) = hosted(OURS, OURS, "other.um.outlook.com", 24_100).await;
    let border = set.run();
    assert_eq!(refusal(&border).await, "the border answered 488");
    assert!(settings.log.tells(&["refused INVITE with 488", "the host of To is other.um.outlook.com"]), "{:?}", settings.log.lines());
    drop(border);
    let (_um, set, settings) = hosted("sbc.fabrikam.com", OURS, HOSTED, 24_200).await;
    let border = set.run();
    assert_eq!(refusal(&border).await, "the border answered 403");
    assert!(settings.log.tells(&["refused INVITE with 403", "CN sbc.example.com"]), "{:?}", settings.log.lines());
}

/// What hosted UM would answer 403 to does not run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_hosted_um_would_refuse_is_found_before_the_first_call() {
    let (_um, set, _) = hosted(OURS, "SBC.example.com", HOSTED, 24_300).await;
    for command in [&["run"][..], &["check", "--offline"]] {
        let (folder, command) = (set.path().to_owned(), command.iter().map(ToString::to_string).collect::<Vec<_>>());
        let output = tokio::task::spawn_blocking(move || portcullis().args(command).arg(folder).output().unwrap());
        let output = tokio::time::timeout(Duration::from_secs(30), output).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("its common name is sbc.example.com, not SBC.example.com") && said.contains("403 to every call"), "{said}");
    }
}
