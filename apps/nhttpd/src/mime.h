/* SPDX-License-Identifier: MIT */
/* mime.h - media type of a file, by the ending of its name */
#ifndef NHTTPD_MIME_H
#define NHTTPD_MIME_H

/* Return: a static string, "application/octet-stream" when unknown. */
const char *mime_type(const char *name);

#endif
