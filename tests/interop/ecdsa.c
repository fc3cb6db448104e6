/*
 * Before libre in a baresip of Debian 12, whose DTLS shows a certificate of RSA made at the start: later releases show one of ECDSA (as WebRTC has it since
 * 2015, RFC 8827 section 6.5), which is put in its place here, from the file DTLS_PEM. With DTLS_LIE set it announces another fingerprint than it shows.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct tls;

int tls_set_selfsigned_rsa(struct tls *tls, const char *cn, size_t bits)
{
	static char pem[8192];
	int (*set)(struct tls *, const char *, size_t) = dlsym(RTLD_NEXT, "tls_set_certificate");
	const char *name = getenv("DTLS_PEM");
	FILE *file = name ? fopen(name, "r") : NULL;
	size_t length;

	(void)cn;
	(void)bits;
	if (!file || !set)
		return -1;
	length = fread(pem, 1, sizeof(pem), file);
	fclose(file);
	return set(tls, pem, length);
}

int tls_fingerprint(const struct tls *tls, int type, uint8_t *md, size_t size)
{
	int (*real)(const struct tls *, int, uint8_t *, size_t) = dlsym(RTLD_NEXT, "tls_fingerprint");
	int err = real(tls, type, md, size);

	if (!err && size && getenv("DTLS_LIE"))
		md[0] ^= 1;
	return err;
}
