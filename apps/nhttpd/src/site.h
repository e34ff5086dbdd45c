/* SPDX-License-Identifier: MIT */
/*
 * site.h - the files below the root, in memory, with their header blocks
 *
 * All files are read at start (and again on a rescan) into one piece of memory
 * the caller provides: for the nom stack it is memory the device can read, so
 * a body leaves without a copy and no request makes a system call.  A request
 * is answered by a look-up in a hash of paths; there is no path from a request
 * to the file system, hence none out of the root either.  What the *site*
 * could contain by mistake (symbolic links that lead out, files of other
 * kinds, files that may not be read) is sorted out while loading, by
 * openat2(2) with RESOLVE_BENEATH, and answered with 403.
 *
 * For each file the complete answer lies ready: header block, then body.  Only
 * the date in it changes, at a fixed offset (site_block.date_s says which
 * second it shows; http_reply.c keeps it).
 */
#ifndef NHTTPD_SITE_H
#define NHTTPD_SITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SITE_PATH_MAX 1024	/* longest decoded path; longer ones: 404 */

/* The answer to a GET, ready to send. */
struct site_block {
	char *head;		/* status line .. empty line; the body follows at once */
	uint32_t head_len;
	int64_t date_s;		/* the second shown in the Date field; data thread writes */
	uint64_t body_len;
	int64_t mtime_s;
	char etag[40];		/* with its quotes */
	char last_modified[32];
};

enum site_kind { SITE_FILE, SITE_MOVED /* directory asked for without '/' */, SITE_FORBIDDEN };

struct site_entry {
	const char *path;	/* as in a request: "/", "/a/b.html" */
	uint32_t path_len;
	uint32_t hash;
	enum site_kind kind;
	struct site_block *block;	/* SITE_FILE */
};

struct site;

/**
 * site_load - read the files below a root
 * @root: directory
 * @mem: memory for header blocks and bodies; the site owns it until
 *	site_free()
 * @mem_bytes: its size; site_need() says how much a root takes
 * @out: the site
 * @err: a message when it fails: what, and what to do
 * @err_bytes: room there
 *
 * Threads: any; reads the file system.
 * Return: 0, -ENOENT, -ENOTDIR, -EACCES (root), -EFBIG (files do not fit),
 * -ENOMEM, -ELOOP (directories deeper than 64), -ENOSYS (no openat2).
 */
int site_load(const char *root, void *mem, size_t mem_bytes, struct site **out, char *err, size_t err_bytes);

/* site_free - give the index back; @mem is the caller's again */
void site_free(struct site *site);

/**
 * site_find - the entry for a request target
 * @site: the site
 * @target: path and query as received
 * @len: its length
 * @plain: the parser found nothing in it to decode
 * @status_out: when NULL is returned: 400 (bad escape, NUL), 403 (".." above
 *	the root), 404
 *
 * Return: the entry, or NULL.  Makes no system call.
 */
const struct site_entry *site_find(const struct site *site, const char *target, uint32_t len, bool plain,
				   int *status_out);

/**
 * site_normalize - decode a path: percent escapes, ".", "..", "//", query cut
 * @target: path and query
 * @len: its length
 * @out: room for SITE_PATH_MAX bytes
 *
 * Return: length of the decoded path, or -400, -403, -404 as site_find().
 */
int site_normalize(const char *target, uint32_t len, char *out);

uint32_t site_nr_files(const struct site *site);
uint32_t site_nr_refused(const struct site *site);
size_t site_bytes(const struct site *site);

/*
 * Generations.  A response that is being sent refers to the site it came from;
 * a rescanned site replaces it only for new requests.  Data thread only.
 */
void site_get(struct site *site);
bool site_put(struct site *site);	/* true: nobody refers to it any more */

#endif
