/* SPDX-License-Identifier: BSD-3-Clause */
/* See pcap_vsock.h. */
#include "pcap_vsock.h"

#include <endian.h>
#include <linux/virtio_vsock.h>
#include <stddef.h>
#include <string.h>

#define PCAP_MAGIC_NS 0xa1b23c4du

/* <linux/vsockmon.h>: operations and transports. */
enum { MON_OP_UNKNOWN, MON_OP_CONNECT, MON_OP_DISCONNECT, MON_OP_CONTROL, MON_OP_PAYLOAD };
#define MON_TRANSPORT_VIRTIO 2

struct pcap_file {
	uint32_t magic;
	uint16_t major, minor;
	uint32_t zone, sigfigs; /* always 0 */
	uint32_t snaplen;
	uint32_t linktype;
};
_Static_assert(sizeof(struct pcap_file) == PCAP_FILE_BYTES, "pcap format");

struct packet {
	uint32_t sec, nsec;
	uint32_t caplen, len; /* of all that follows, in the file and on the wire */
	/* vsockmon's header: the virtio header's first fields, and what they mean */
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port;
	uint16_t op, transport, transport_len, reserved;
	struct virtio_vsock_hdr virtio;
} __attribute__((packed));
_Static_assert(offsetof(struct packet, src_cid) == PCAP_RECORD_BYTES, "pcap format");
_Static_assert(offsetof(struct packet, virtio) == PCAP_RECORD_BYTES + PCAP_VSOCKMON_BYTES,
	       "vsockmon format");
_Static_assert(sizeof(struct packet) == PCAP_PACKET_BYTES, "vsockmon format");

void pcap_file_header(uint8_t out[PCAP_FILE_BYTES], uint32_t snaplen)
{
	const struct pcap_file h = {
		.magic = htole32(PCAP_MAGIC_NS),
		.major = htole16(2),
		.minor = htole16(4),
		.snaplen = htole32(PCAP_VSOCKMON_BYTES + PCAP_VIRTIO_BYTES + snaplen),
		.linktype = htole32(PCAP_LINKTYPE_VSOCK),
	};

	memcpy(out, &h, sizeof(h));
}

/* As Linux' virtio transport classifies its packets for vsockmon. */
static uint16_t mon_op(uint16_t op)
{
	switch (op) {
	case VIRTIO_VSOCK_OP_REQUEST:
	case VIRTIO_VSOCK_OP_RESPONSE:
		return MON_OP_CONNECT;
	case VIRTIO_VSOCK_OP_RST:
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		return MON_OP_DISCONNECT;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		return MON_OP_CONTROL;
	case VIRTIO_VSOCK_OP_RW:
		return MON_OP_PAYLOAD;
	default:
		return MON_OP_UNKNOWN;
	}
}

void pcap_packet_header(uint8_t out[PCAP_PACKET_BYTES], uint64_t unix_ns,
			const uint8_t virtio[PCAP_VIRTIO_BYTES], uint32_t caplen, uint32_t len)
{
	struct packet p = {
		.sec = htole32((uint32_t)(unix_ns / 1000000000u)),
		.nsec = htole32((uint32_t)(unix_ns % 1000000000u)),
		.caplen = htole32(PCAP_VSOCKMON_BYTES + PCAP_VIRTIO_BYTES + caplen),
		.len = htole32(PCAP_VSOCKMON_BYTES + PCAP_VIRTIO_BYTES + len),
		.transport = htole16(MON_TRANSPORT_VIRTIO),
		.transport_len = htole16(PCAP_VIRTIO_BYTES),
	};

	memcpy(&p.virtio, virtio, sizeof(p.virtio));
	/* Little endian on both sides. */
	p.src_cid = p.virtio.src_cid;
	p.dst_cid = p.virtio.dst_cid;
	p.src_port = p.virtio.src_port;
	p.dst_port = p.virtio.dst_port;
	p.op = htole16(mon_op(le16toh(p.virtio.op)));
	memcpy(out, &p, sizeof(p));
}

uint32_t pcap_record_bytes(const uint8_t record[PCAP_RECORD_BYTES])
{
	uint32_t caplen;

	memcpy(&caplen, record + offsetof(struct packet, caplen), sizeof(caplen));
	return PCAP_RECORD_BYTES + le32toh(caplen);
}
