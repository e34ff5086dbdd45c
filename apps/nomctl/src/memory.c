// SPDX-License-Identifier: MIT
/* nomctl memory: where it is and who has it, asking for it back, giving it away. */
#include "nomctl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <econ/nl.h>

#define MEMORY_STEP_MIB		2

static struct {
	bool json;
	int64_t deadline_ms;
} values = { .deadline_ms = 1000 };

#define OPT(field)	((size_t)((char *)&values.field - (char *)&values))
static const struct econ_option options[] = {
	{ "json", 'j', ECON_OPT_FLAG, 0, NULL, "grants, nodes: for programs", 0, 0 },
	{ "deadline", 'd', ECON_OPT_INT, OPT(deadline_ms), "MS",
	  "reclaim: when the kernel takes what was not returned (1000)", 0, NOM_RECLAIM_MAX_MS },
	NOMCTL_OPTIONS_END,
};

static json_t *grant_json(const struct econ_nl_record *r)
{
	return json_pack("{s:I,s:i,s:i,s:s,s:I,s:I,s:I}", "grant", (json_int_t)r->handle,
			 "pid", (int)r->pid, "uid", (int)r->uid, "comm", r->comm,
			 "bytes", (json_int_t)r->mem_granted_bytes,
			 "mapped_bytes", (json_int_t)r->mem_mapped_bytes,
			 "wanted_bytes", (json_int_t)r->mem_wanted_bytes);
}

static int list_json(const struct econ_nl_record *r, void *arg)
{
	json_array_append_new(arg, grant_json(r));
	return 0;
}

static int list_row(const struct econ_nl_record *r, void *arg)
{
	char bytes[24], mapped[24], wanted[24];

	nomctl_table_row(arg, "%" PRIu64 "\t%u\t%s\t%s\t%s\t%s", r->handle, r->pid, r->comm,
			 nomctl_bytes(r->mem_granted_bytes, bytes, sizeof(bytes)),
			 nomctl_bytes(r->mem_mapped_bytes, mapped, sizeof(mapped)),
			 r->mem_wanted_bytes ?
			 nomctl_bytes(r->mem_wanted_bytes, wanted, sizeof(wanted)) : "-");
	return 0;
}

static int node_json(const struct econ_nl_record *r, void *arg)
{
	json_array_append_new(arg, json_pack("{s:i,s:I,s:I}", "node", (int)r->node,
					     "bytes", (json_int_t)r->mem_total_bytes,
					     "free_bytes", (json_int_t)r->mem_free_bytes));
	return 0;
}

static int node_row(const struct econ_nl_record *r, void *arg)
{
	char total[24], unused[24];

	nomctl_table_row(arg, "%u\t%s\t%s", r->node,
			 nomctl_bytes(r->mem_total_bytes, total, sizeof(total)),
			 nomctl_bytes(r->mem_free_bytes, unused, sizeof(unused)));
	return 0;
}

/* A dump as a table or, with --json, as a list. */
static int show(const char *doing, enum nom_genl_cmd cmd, const char *heads, econ_nl_fn row,
		econ_nl_fn object)
{
	struct nomctl_table *table;
	struct econ_nl *nl;
	json_t *list;
	int ret = econ_nl_open(&nl);

	if (ret)
		return nomctl_fail_errno(ret, doing);
	table = nomctl_table_create(heads);
	list = json_array();
	ret = values.json ? econ_nl_get(nl, cmd, object, list) : econ_nl_get(nl, cmd, row, table);
	econ_nl_close(nl);
	if (!ret && values.json)
		nomctl_print_json(json_incref(list));
	nomctl_table_print(table, !ret && !values.json ? stdout : NULL);
	json_decref(list);
	return ret ? nomctl_fail_errno(ret, doing) : ECON_EXIT_OK;
}

static int run_grants(int argc, char **argv)
{
	return show("memory grants", NOM_GENL_CMD_GET_GRANTS,
		    "grant\t>pid\tprogram\t>bytes\t>mapped\t>asked back", list_row, list_json);
}

static int run_nodes(int argc, char **argv)
{
	return show("memory nodes", NOM_GENL_CMD_GET_NODES, "node\t>reserved\t>free",
		    node_row, node_json);
}

static int number(const char *text, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(text, &end, 10);
	return errno || end == text || *end || *text == '-' ? -EINVAL : 0;
}

static int mebibytes(const char *doing, const char *text, uint64_t *bytes_out)
{
	uint64_t mib;

	if (number(text, &mib) || !mib || mib % MEMORY_STEP_MIB || mib > UINT64_MAX >> 20)
		return nomctl_fail(ECON_EXIT_USAGE, "%s: \"%s\": MiB, a multiple of 2", doing, text);
	*bytes_out = mib << 20;
	return 0;
}

static int run_reclaim(int argc, char **argv)
{
	uint64_t grant, bytes;
	struct econ_nl *nl;
	int ret;

	if (number(argv[0], &grant))
		return nomctl_fail(ECON_EXIT_USAGE, "memory reclaim: \"%s\" is not a number: see nomctl memory grants",
				   argv[0]);
	ret = mebibytes("memory reclaim", argv[1], &bytes);
	if (ret)
		return ret;
	ret = econ_nl_open(&nl);
	if (ret)
		return nomctl_fail_errno(ret, "memory reclaim");
	ret = econ_nl_reclaim(nl, grant, bytes, (uint32_t)values.deadline_ms);
	if (ret == -EPERM)
		ret = nomctl_fail(ECON_EXIT_PERMISSION, "memory reclaim: needs CAP_SYS_ADMIN: run as root");
	else if (ret && *econ_nl_why(nl))
		ret = nomctl_fail(econ_exit_code(ret), "memory reclaim %s: %s", argv[0], econ_nl_why(nl));
	else if (ret)
		ret = nomctl_fail_errno(ret, "memory reclaim");
	econ_nl_close(nl);
	return ret;
}

static int run_release(int argc, char **argv)
{
	struct nom_mem_release r = { .size = sizeof(r), .node = NOM_NODE_ANY };
	char text[24];
	int fd, ret;

	ret = mebibytes("memory release", argv[0], (uint64_t *)&r.bytes);
	if (ret)
		return ret;
	fd = open(NOM_DEVICE_PATH, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return nomctl_fail_errno(-errno, "memory release: " NOM_DEVICE_PATH);
	ret = ioctl(fd, NOM_MEM_RELEASE, &r) ? -errno : 0;
	close(fd);
	if (ret == -ENOMEM)
		return nomctl_fail(ECON_EXIT_BUSY, "memory release: no reserved memory is free");
	if (ret)
		return nomctl_fail_errno(ret, "memory release");
	printf("%s are the kernel's now, until the next boot\n",
	       nomctl_bytes(r.out_bytes, text, sizeof(text)));
	return ECON_EXIT_OK;
}

static const struct nomctl_action actions[] = {
	{ "grants", "", "who has been granted reserved memory", 0, 0, run_grants },
	{ "nodes", "", "how much each NUMA node has", 0, 0, run_nodes },
	{ "release", "MIB", "give free reserved memory to the kernel, for good", 1, 1, run_release },
	{ "reclaim", "GRANT MIB", "ask for memory back; it is taken at the deadline", 2, 2, run_reclaim },
	NOMCTL_ACTIONS_END,
};

const struct nomctl_verb nomctl_memory = {
	"memory", "reserved memory: who has it, asking for it back, giving it away", actions, options, &values, 0,
};
