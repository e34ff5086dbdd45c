// SPDX-License-Identifier: MIT
/*
 * The program on the interface that hands our frames to the AF_XDP socket.
 *
 * Twenty instructions, written down: neither a compiler nor libbpf and what it needs is to be
 * where a server runs.  libxdp's own program hands over all frames of a queue; this one leaves
 * the kernel's stack what is for another address than ours, as the packet socket does.  What is
 * for a group can go one way only, and comes to us.
 *
 * A BPF link holds it, so it goes when its descriptor does, with a killed process, too.
 */
#include "vtrans_xdp.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/bpf.h>
#include <linux/if_link.h>

static int sys_bpf(enum bpf_cmd cmd, union bpf_attr *attr)
{
	int ret = (int)syscall(SYS_bpf, cmd, attr, sizeof(*attr));

	return ret < 0 ? -errno : ret;
}

int xdp_map_create(void)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_XSKMAP;
	attr.key_size = attr.value_size = sizeof(uint32_t);
	attr.max_entries = 1;
	return sys_bpf(BPF_MAP_CREATE, &attr);
}

int xdp_map_set(int map_fd, int socket_fd)
{
	uint32_t key = 0, value = (uint32_t)socket_fd;
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)map_fd;
	attr.key = (uintptr_t)&key;
	attr.value = (uintptr_t)&value;
	return sys_bpf(BPF_MAP_UPDATE_ELEM, &attr);
}

enum { R0, R1, R2, R3, R4, R6 = 6 };

#define LOAD(size, dst, src, at)	{ .code = BPF_LDX | BPF_MEM | (size), .dst_reg = dst, .src_reg = src, .off = at }
#define MOVE(dst, src)			{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = dst, .src_reg = src }
#define SET(dst, value)			{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = dst, .imm = (int)(value) }
#define ALU(op, dst, value)		{ .code = BPF_ALU64 | (op) | BPF_K, .dst_reg = dst, .imm = value }
#define JUMP(op, dst, value, by)	{ .code = BPF_JMP32 | (op) | BPF_K, .dst_reg = dst, .off = by, .imm = (int)(value) }
#define JUMP_ABOVE(dst, src, by)	{ .code = BPF_JMP | BPF_JGT | BPF_X, .dst_reg = dst, .src_reg = src, .off = by }
#define CALL(function)			{ .code = BPF_JMP | BPF_CALL, .imm = function }
#define EXIT				{ .code = BPF_JMP | BPF_EXIT }

int xdp_prog_load(int map_fd, const uint8_t mac[6])
{
	uint32_t first;
	uint16_t last;
	union bpf_attr attr;

	memcpy(&first, mac, sizeof(first));
	memcpy(&last, mac + sizeof(first), sizeof(last));

	const struct bpf_insn code[] = {
		/* 0 */ MOVE(R6, R1),
		LOAD(BPF_W, R2, R1, offsetof(struct xdp_md, data)),
		LOAD(BPF_W, R3, R1, offsetof(struct xdp_md, data_end)),
		MOVE(R4, R2),
		ALU(BPF_ADD, R4, VNET_ETH_BYTES),
		/* 5 */ JUMP_ABOVE(R4, R3, 13),		/* shorter: to 19 */
		LOAD(BPF_B, R4, R2, 0),
		ALU(BPF_AND, R4, 1),
		JUMP(BPF_JNE, R4, 0, 4),		/* a group's: to 13 */
		LOAD(BPF_W, R4, R2, 0),
		/* 10 */ JUMP(BPF_JNE, R4, first, 8),	/* to 19 */
		LOAD(BPF_H, R4, R2, 4),
		JUMP(BPF_JNE, R4, last, 6),		/* to 19 */
		/* 13 */ LOAD(BPF_W, R2, R6, offsetof(struct xdp_md, rx_queue_index)),
		{ .code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = R1, .src_reg = BPF_PSEUDO_MAP_FD, .imm = map_fd }, { .code = 0 },
		SET(R3, XDP_PASS),			/* without a socket in the map */
		CALL(BPF_FUNC_redirect_map),
		EXIT,
		/* 19 */ SET(R0, XDP_PASS),
		EXIT,
	};

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_XDP;
	attr.expected_attach_type = BPF_XDP;
	attr.insns = (uintptr_t)code;
	attr.insn_cnt = sizeof(code) / sizeof(code[0]);
	attr.license = (uintptr_t)"Dual MIT/GPL";
	memcpy(attr.prog_name, "nom_xdp", sizeof("nom_xdp"));
	return sys_bpf(BPF_PROG_LOAD, &attr);
}

int xdp_prog_attach(int prog_fd, int ifindex, bool generic)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.link_create.prog_fd = (uint32_t)prog_fd;
	attr.link_create.target_ifindex = (uint32_t)ifindex;
	attr.link_create.attach_type = BPF_XDP;
	attr.link_create.flags = generic ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE;
	return sys_bpf(BPF_LINK_CREATE, &attr);
}
