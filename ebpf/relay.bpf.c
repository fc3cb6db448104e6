// SPDX-License-Identifier: MIT OR Apache-2.0
// RTP forwarded in the kernel, at the edge of the interface it arrives on (XDP).
//
// Portcullis puts an entry here for each direction of a stream that may be carried without it (src/media/shortcut.rs): plain RTP from a source the
// latch has settled on. A packet that fits its entry exactly is counted, readdressed and sent on; everything else goes up (XDP_PASS) to the bound
// socket, where Portcullis judges it as if this program were not there. So whatever is unusual (options, fragments, a VLAN tag, header extensions,
// another SSRC, events, a jump of the sequence, a checksum not finished yet, no route, too long for the way out) is no case of ours.
//
// Built by ebpf/build; the layout of `key`, `entry` and `count` is that of src/adapters/media/kernel/entry.rs.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2
#define AF_INET6 10

#define ENTRIES 32768
#define INTERFACES 64

// As in src/media/quality.rs (RFC 3550 A.1).
#define MAX_DROPOUT 3000
#define MAX_MISORDER 100
// Of a step of the transit time, in seconds: more is a new timeline (quality.rs).
#define RESTART 10

// As an endpoint sends (net.ipv4.ip_default_ttl): Portcullis ends the peer's datagram and sends one of its own.
#define TTL 64

// Bytes of the longest datagram summed up, from the UDP header on.
#define LONGEST 1536

// IPv4 addresses as ::ffff:a.b.c.d. As the packet arrives: the peer's, then ours.
struct key {
	__u8 source[16];
	__u8 destination[16];
	__be16 source_port;
	__be16 destination_port;
};

struct entry {
	// As the packet leaves: ours, then the other peer's.
	__u8 source[16];
	__u8 destination[16];
	__be16 source_port;
	__be16 destination_port;
	__be32 ssrc;
	// One bit for each payload type that may pass.
	__u64 payload_types[2];
	// CLOCK_MONOTONIC where the line of time of Portcullis begins, ns.
	__u64 epoch;
	// Of `count`.
	__u32 slot;
	// RTP timestamp units per second.
	__u32 clock;
	// Sums of 16-bit words as they lie in memory (RFC 1071): of the addresses the packet arrives with, and what readdressing adds to them and the ports.
	__u16 arriving;
	__u16 change;
	// The IPv4 TOS or IPv6 traffic class it leaves with.
	__u8 tos;
	// 4 or 6: the family it leaves in.
	__u8 family;
	__u8 unused[2];
	// Cycles and highest sequence number of what came to the socket meanwhile, such as events: no gap.
	__u32 heard;
	__u32 unused_too;
};

// One writer, since one flow is one receive queue; Portcullis reads.
struct count {
	__u64 packets;
	// Of UDP payload.
	__u64 bytes;
	// On the line of time of Portcullis, ns.
	__u64 last;
	// RFC 3550 A.1: cycles and highest sequence number.
	__u32 highest;
	// A.8: of the last packet with a timestamp of its own; sixteen times the jitter.
	__u32 timestamp;
	__u32 transit;
	__u32 jitter;
	// Runs of packets that were skipped.
	__u32 gaps;
	__u32 unused;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ENTRIES);
	__type(key, struct key);
	__type(value, struct entry);
} entries SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ENTRIES);
	__type(key, __u32);
	__type(value, struct count);
} counts SEC(".maps");

// The interfaces this program is on: packets leave by these only.
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__uint(max_entries, INTERFACES);
	__type(key, __u32);
	__type(value, struct bpf_devmap_val);
} interfaces SEC(".maps");

struct rtp {
	__u8 first;
	__u8 second;
	__be16 sequence;
	__be32 timestamp;
	__be32 ssrc;
};

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

// The folded sum from `offset` to the end of the packet. A function of its own, verified once, so that its many ways through do not multiply those of its caller.
__attribute__((noinline)) __u32 sum_from(struct xdp_md *ctx, __u32 offset)
{
	void *end = (void *)(long)ctx->data_end;
	void *at = (void *)(long)ctx->data;
	__u64 sum = 0;

	if (offset > 64)
		return 0;
	at += offset;
	for (int i = 0; i < LONGEST / 32; i++) {
		__u32 *words = at;

		if ((void *)(words + 8) > end)
			break;
		sum += (__u64)words[0] + words[1] + words[2] + words[3];
		sum += (__u64)words[4] + words[5] + words[6] + words[7];
		at += 32;
	}
	for (int i = 0; i < 8; i++) {
		__u32 *word = at;

		if ((void *)(word + 1) > end)
			break;
		sum += *word;
		at += 4;
	}
	if (at + 2 <= end) {
		sum += *(__u16 *)at;
		at += 2;
	}
	if (at + 1 <= end)
		sum += bpf_htons((__u16)(*(__u8 *)at << 8));
	return fold(sum);
}

static __always_inline void mapped(__u8 *to, __be32 address)
{
	((__u32 *)to)[2] = bpf_htonl(0xffff);
	((__u32 *)to)[3] = address;
}

// Where to, by the kernel's own routes and neighbours. Zero: known, by an interface of ours, and not too long for it.
static __always_inline int route(struct xdp_md *ctx, const struct entry *entry, __u32 udp_length, struct bpf_fib_lookup *way)
{
	way->ifindex = ctx->ingress_ifindex;
	way->l4_protocol = IPPROTO_UDP;
	way->sport = entry->source_port;
	way->dport = entry->destination_port;
	if (entry->family == 4) {
		way->family = AF_INET;
		way->tos = entry->tos;
		way->tot_len = udp_length + sizeof(struct iphdr);
		way->ipv4_src = *(__be32 *)(entry->source + 12);
		way->ipv4_dst = *(__be32 *)(entry->destination + 12);
	} else {
		way->family = AF_INET6;
		way->flowinfo = bpf_htonl((__u32)entry->tos << 20);
		way->tot_len = udp_length + sizeof(struct ipv6hdr);
		__builtin_memcpy(way->ipv6_src, entry->source, 16);
		__builtin_memcpy(way->ipv6_dst, entry->destination, 16);
	}
	if (bpf_fib_lookup(ctx, way, sizeof(*way), 0) != BPF_FIB_LKUP_RET_SUCCESS)
		return -1;
	return bpf_map_lookup_elem(&interfaces, &way->ifindex) ? 0 : -1;
}

// RFC 3550 A.1 and A.8 for a packet within reach of the last one.
static __always_inline void tally(const struct entry *entry, struct count *count, const struct rtp *rtp, __u16 ahead, __u32 bytes)
{
	__u64 now = bpf_ktime_get_ns() - entry->epoch;
	__u32 timestamp = bpf_ntohl(rtp->timestamp);

	__sync_fetch_and_add(&count->packets, 1);
	__sync_fetch_and_add(&count->bytes, bytes);
	count->last = now;
	if (ahead < MAX_DROPOUT) {
		count->highest += ahead;
		if (ahead > 1)
			count->gaps++;
	}
	if (timestamp != count->timestamp) {
		__u32 transit = (__u32)(now / 1000 * entry->clock / 1000000) - timestamp;
		__u32 step = transit - count->transit;

		if (step >> 31)
			step = -step;
		count->timestamp = timestamp;
		count->transit = transit;
		if (step < RESTART * entry->clock)
			count->jitter += step - ((count->jitter + 8) >> 4);
	}
}

static __always_inline void write_ipv4(struct iphdr *ip, const struct entry *entry, __u32 udp_length)
{
	__u16 *words = (__u16 *)ip;
	__u64 sum = 0;

	ip->version = 4;
	ip->ihl = 5;
	ip->tos = entry->tos;
	ip->tot_len = bpf_htons(udp_length + sizeof(*ip));
	// Never in fragments, so it needs no number (RFC 6864 §4.1).
	ip->id = 0;
	ip->frag_off = bpf_htons(0x4000);
	ip->ttl = TTL;
	ip->protocol = IPPROTO_UDP;
	ip->check = 0;
	ip->saddr = *(__be32 *)(entry->source + 12);
	ip->daddr = *(__be32 *)(entry->destination + 12);
#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += words[i];
	ip->check = ~fold(sum);
}

static __always_inline void write_ipv6(struct ipv6hdr *ip, const struct entry *entry, __u32 udp_length)
{
	*(__be32 *)ip = bpf_htonl(6 << 28 | (__u32)entry->tos << 20);
	ip->payload_len = bpf_htons(udp_length);
	ip->nexthdr = IPPROTO_UDP;
	ip->hop_limit = TTL;
	__builtin_memcpy(&ip->saddr, entry->source, 16);
	__builtin_memcpy(&ip->daddr, entry->destination, 16);
}

SEC("xdp")
int relay(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct bpf_fib_lookup way = {};
	struct key key = {};
	struct entry *entry;
	struct count *count;
	struct udphdr *udp;
	struct rtp *rtp;
	__u32 offset, udp_length;
	__u16 ahead, check;
	int family;

	if ((void *)(eth + 1) > end)
		return XDP_PASS;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);
		__u16 *words = (__u16 *)ip;
		__u64 sum = 0;

		family = 4;
		offset = sizeof(*eth) + sizeof(*ip);
		if ((void *)(ip + 1) > end || *(__u8 *)ip != 0x45 || ip->protocol != IPPROTO_UDP || ip->frag_off & bpf_htons(0x3fff))
			return XDP_PASS;
		if (data + sizeof(*eth) + bpf_ntohs(ip->tot_len) != end)
			return XDP_PASS;
#pragma unroll
		for (int i = 0; i < 10; i++)
			sum += words[i];
		if (fold(sum) != 0xffff)
			return XDP_PASS;
		mapped(key.source, ip->saddr);
		mapped(key.destination, ip->daddr);
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);

		family = 6;
		offset = sizeof(*eth) + sizeof(*ip);
		if ((void *)(ip + 1) > end || ip->version != 6 || ip->nexthdr != IPPROTO_UDP)
			return XDP_PASS;
		if (data + offset + bpf_ntohs(ip->payload_len) != end)
			return XDP_PASS;
		__builtin_memcpy(key.source, &ip->saddr, 16);
		__builtin_memcpy(key.destination, &ip->daddr, 16);
	} else {
		return XDP_PASS;
	}

	udp = data + offset;
	rtp = (void *)(udp + 1);
	if ((void *)(rtp + 1) > end)
		return XDP_PASS;
	udp_length = bpf_ntohs(udp->len);
	if ((void *)udp + udp_length != end || udp_length > LONGEST)
		return XDP_PASS;
	key.source_port = udp->source;
	key.destination_port = udp->dest;
	entry = bpf_map_lookup_elem(&entries, &key);
	if (!entry)
		return XDP_PASS;

	// Version 2, no padding, no extension, no contributing sources: what could be malformed is the socket's.
	if (rtp->first != 0x80 || rtp->ssrc != entry->ssrc)
		return XDP_PASS;
	if (!(entry->payload_types[rtp->second >> 6 & 1] >> (rtp->second & 63) & 1))
		return XDP_PASS;
	count = bpf_map_lookup_elem(&counts, &entry->slot);
	if (!count)
		return XDP_PASS;
	if ((__s32)(entry->heard - count->highest) > 0)
		count->highest = entry->heard;
	ahead = bpf_ntohs(rtp->sequence) - (__u16)count->highest;
	if (ahead >= MAX_DROPOUT && ahead <= 0xffff - MAX_MISORDER)
		return XDP_PASS;

	// A wrong checksum is the UDP stack's to drop, or one that the sender's offload has not finished (on veth).
	check = udp->check;
	if (!check && (family == 6 || entry->family == 6))
		return XDP_PASS;
	if (check && fold((__u64)sum_from(ctx, offset) + entry->arriving + bpf_htons(IPPROTO_UDP) + udp->len) != 0xffff)
		return XDP_PASS;
	if (route(ctx, entry, udp_length, &way))
		return XDP_PASS;

	tally(entry, count, rtp, ahead, udp_length - sizeof(*udp));

	if (check) {
		check = ~fold((__u64)(__u16)~check + entry->change);
		udp->check = check ? check : 0xffff;
	}
	udp->source = entry->source_port;
	udp->dest = entry->destination_port;
	if (family != entry->family) {
		int grow = entry->family == 6 ? (int)(sizeof(struct ipv6hdr) - sizeof(struct iphdr)) : (int)(sizeof(struct iphdr) - sizeof(struct ipv6hdr));

		// No room: what is written already is a packet nobody takes.
		if (bpf_xdp_adjust_head(ctx, -grow))
			return XDP_DROP;
	}
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	eth = data;
	if (entry->family == 4) {
		if (data + sizeof(*eth) + sizeof(struct iphdr) > end)
			return XDP_DROP;
		eth->h_proto = bpf_htons(ETH_P_IP);
		write_ipv4((void *)(eth + 1), entry, udp_length);
	} else {
		if (data + sizeof(*eth) + sizeof(struct ipv6hdr) > end)
			return XDP_DROP;
		eth->h_proto = bpf_htons(ETH_P_IPV6);
		write_ipv6((void *)(eth + 1), entry, udp_length);
	}
	__builtin_memcpy(eth->h_dest, way.dmac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, way.smac, ETH_ALEN);
	if (way.ifindex == ctx->ingress_ifindex)
		return XDP_TX;
	return bpf_redirect_map(&interfaces, way.ifindex, 0);
}

// The helpers for routes are for programs under a licence the kernel knows as compatible with its own.
char licence[] SEC("license") = "Dual MIT/GPL";
