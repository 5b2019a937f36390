/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The format of a pcap file of vsock packets: LINKTYPE_VSOCK, little endian, nanoseconds.
 *
 * A record is 16 bytes of pcap, the 32 bytes that Linux' vsockmon puts before a packet, the 44
 * bytes of the virtio-vsock header as they were on the ring, and payload. libpcap could write the
 * same, but only through a FILE, which blocks and hides the cause of an error; writing the format
 * takes less code than working around that.
 */
#ifndef ZVD_PCAP_VSOCK_H
#define ZVD_PCAP_VSOCK_H

#include <stdint.h>

#define PCAP_LINKTYPE_VSOCK 271u
#define PCAP_FILE_BYTES	    24u
#define PCAP_RECORD_BYTES   16u
#define PCAP_VSOCKMON_BYTES 32u
#define PCAP_VIRTIO_BYTES   44u
/* Everything before the payload. */
#define PCAP_PACKET_BYTES (PCAP_RECORD_BYTES + PCAP_VSOCKMON_BYTES + PCAP_VIRTIO_BYTES)

/* The file header. @snaplen: maximum payload bytes that a record keeps. */
void pcap_file_header(uint8_t out[PCAP_FILE_BYTES], uint32_t snaplen);

/* Everything before the payload of a packet with header @virtio (as on the wire). @caplen of its
 * @len payload bytes follow. @unix_ns: since 1970. */
void pcap_packet_header(uint8_t out[PCAP_PACKET_BYTES], uint64_t unix_ns,
			const uint8_t virtio[PCAP_VIRTIO_BYTES], uint32_t caplen, uint32_t len);

/* Length of the record that begins at @record, payload included. */
uint32_t pcap_record_bytes(const uint8_t record[PCAP_RECORD_BYTES]);

#endif
