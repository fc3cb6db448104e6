// SPDX-License-Identifier: MIT OR Apache-2.0
// Gives RTP of known sources to the socket all streams of a worker share (BPF_PROG_TYPE_SK_LOOKUP, Linux 5.9).
//
// The kernel asks where it would look for the socket of an arriving datagram, after the firewall and after fragments have been put together. What
// is in no flow goes on to the stream's own socket. Nothing is dropped here.

#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>

#define FAMILY_IPV4 2

// As adapters/media/frames/program.rs writes it; IPv4 as ::ffff:a.b.c.d.
struct flow {
    __u32 from[4];
    __u32 ours[4];
    __u16 from_port; // network order
    __u16 our_port;  // host order
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 65536);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, struct flow);
    __type(value, __u32); // which of `sockets`
} flows SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_SOCKMAP);
    __uint(max_entries, 512);
    __type(key, __u32);
    __type(value, __u32);
} sockets SEC(".maps");

SEC("sk_lookup")
int frames(struct bpf_sk_lookup *ask)
{
    struct flow flow = {};
    struct bpf_sock *socket;
    __u32 *which;

    if (ask->protocol != IPPROTO_UDP)
        return SK_PASS;
    // The addresses of the other family read as zero. Without branches, since the compiler would read both by one computed pointer, which the verifier
    // refuses.
    flow.from[0] = ask->remote_ip6[0];
    flow.from[1] = ask->remote_ip6[1];
    flow.from[2] = ask->remote_ip6[2];
    flow.from[3] = ask->remote_ip6[3] | ask->remote_ip4;
    flow.ours[0] = ask->local_ip6[0];
    flow.ours[1] = ask->local_ip6[1];
    flow.ours[2] = ask->local_ip6[2];
    flow.ours[3] = ask->local_ip6[3] | ask->local_ip4;
    if (ask->family == FAMILY_IPV4)
        flow.from[2] = flow.ours[2] = __builtin_bswap32(0xffff);
    flow.from_port = ask->remote_port;
    flow.our_port = ask->local_port;

    which = bpf_map_lookup_elem(&flows, &flow);
    if (!which)
        return SK_PASS;
    socket = bpf_map_lookup_elem(&sockets, which);
    if (!socket)
        return SK_PASS;
    bpf_sk_assign(ask, socket, 0);
    bpf_sk_release(socket);
    return SK_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
