/* SPDX-License-Identifier: MIT */
/*
 * pcap.h - a capture file: classic pcap, nanoseconds, Ethernet
 *
 * The format is that of draft-ietf-opsawg-pcap: tshark, wireshark and tcpdump
 * read it.
 */
#ifndef NOMCTL_PCAP_H
#define NOMCTL_PCAP_H

#include <stdbool.h>
#include <stdint.h>

/**
 * struct pcap - a file being written
 * @fd: descriptor (borrowed)
 * @bytes: whole records that are in the file
 * @frames: their number
 */
struct pcap {
	int fd;
	uint64_t bytes, frames;
};

/* Begin a file: 0 or -errno. */
int pcap_begin(struct pcap *p, int fd, uint32_t snap_bytes);

/**
 * pcap_frame - append a frame
 * @when_ns: CLOCK_REALTIME
 * @bytes: of it at @data
 * @wire_bytes: its length
 *
 * Return: 0 or -errno; a file is then cut back to its last whole frame.
 */
int pcap_frame(struct pcap *p, uint64_t when_ns, const void *data, uint32_t bytes, uint32_t wire_bytes);

/**
 * pcap_fill_csum - the TCP or UDP sum that is the device's business
 *
 * Of whole frames of IPv4, and of IPv6 without extension headers; others stay as they
 * are, as does what is no TCP and no UDP.
 */
void pcap_fill_csum(uint8_t *frame, uint32_t bytes);

#endif
