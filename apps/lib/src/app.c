// SPDX-License-Identifier: MIT
/* app.c - messages, words, kinds of device, and the processor that a program runs on */
#include <nomapp/app.h>

#include <cpuid.h>
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *app_name = "nom";

void app_begin(const char *name)
{
	app_name = name;
}

void die_message(const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	fprintf(stderr, "%s: %s\n", app_name, line);
}

int app_choice(const char *words, const char *word)
{
	size_t n = strlen(word);

	for (int i = 0; *words; i++) {
		size_t len = strcspn(words, "|");

		if (len == n && !memcmp(words, word, n))
			return i;
		words += len + (words[len] == '|');
	}
	return -1;
}

bool app_hosted(const char *device)
{
	return !strncmp(device, "unix:", 5) || app_interface(device);
}

bool app_interface(const char *device)
{
	return !strncmp(device, APP_PACKET, strlen(APP_PACKET)) || !strncmp(device, APP_XDP, strlen(APP_XDP));
}

/* It leaves its translated code for PAUSE. */
bool app_emulated_cpu(void)
{
	unsigned eax, ebx, ecx, edx;
	char id[13] = "";

	__cpuid(1, eax, ebx, ecx, edx);
	if (!(ecx & (1u << 31)))
		return false;
	__cpuid(0x40000000, eax, ebx, ecx, edx);
	memcpy(id, &ebx, 4);
	memcpy(id + 4, &ecx, 4);
	memcpy(id + 8, &edx, 4);
	return !strcmp(id, "TCGTCGTCGTCG");
}

int app_pin(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return EXIT_OK;
	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (!sched_setaffinity(0, sizeof(set), &set))
		return EXIT_OK;
	die_message("--cpu %d: %s: the core does not exist, or is reserved (nomctl status shows reserved cores)", cpu,
		    strerror(errno));
	return EXIT_USAGE;
}
