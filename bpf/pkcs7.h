/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The one shape of PKCS#7 that we take: SignedData (RFC 2315, 9.1), detached,
 * exactly one SignerInfo, no certificates, CRLs or attributes, SHA-2.
 *
 * The kernel's own parser (crypto/asymmetric_keys/pkcs7_parser.c) takes more:
 * certificates that chain to a key of the ring, several signers of which one
 * must fit, and attributes that are signed in place of the content.
 */
#ifndef BPFTRUST_PKCS7_H
#define BPFTRUST_PKCS7_H

#define DER_INTEGER 0x02
#define DER_OCTET_STRING 0x04
#define DER_OID 0x06
#define DER_SEQUENCE 0x30
#define DER_SET 0x31
#define DER_CONTEXT_0 0xa0

/* 2.16.840.1.101.3.4.2 without its last arc: 1, 2, 3 are SHA-256, -384, -512 */
static const u8 sha2_oid[10] = { DER_OID, 9, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02 };

/* What is read; a power of two, so that a masked index is in bounds. */
struct der_bytes {
	u8 at[BT_XATTR_MAX];
};

#define DER_AT(bytes, index) ((bytes)->at[(index) & (BT_XATTR_MAX - 1)])

/* Where an element's content is; end is 0 where there is no such element. */
struct der {
	u32 start;
	u32 end;
};

/*
 * The element with @tag at @at, which must end by @end: start << 32 | end of
 * its content, 0 if it is not there. A global function, so that the verifier
 * walks it once and not once for each way to write a length.
 */
__noinline u64 der_element(struct der_bytes *bytes, u32 at, u32 end, u32 tag)
{
	u32 length, start;

	if (!bytes || end > BT_XATTR_MAX || at >= end || end - at < 2)
		return 0;
	if (DER_AT(bytes, at) != tag)
		return 0;
	length = DER_AT(bytes, at + 1);
	start = at + 2;
	if (length == 0x81) {
		length = DER_AT(bytes, at + 2);
		start = at + 3;
	} else if (length == 0x82) {
		length = DER_AT(bytes, at + 2) << 8 | DER_AT(bytes, at + 3);
		start = at + 4;
	} else if (length > 0x7f) {
		return 0;
	}
	if (start > end || length > end - start)
		return 0;
	return (u64)start << 32 | (start + length);
}

static __always_inline struct der der(struct der_bytes *bytes, u32 at, u32 end, u32 tag)
{
	u64 found = der_element(bytes, at, end, tag);

	return (struct der){ .start = found >> 32, .end = (u32)found };
}

static __always_inline bool is_sha2(struct der_bytes *bytes, struct der algorithm)
{
	if (algorithm.end - algorithm.start < sizeof(sha2_oid) + 1)
		return false;
	for (u32 i = 0; i < sizeof(sha2_oid); i++)
		if (DER_AT(bytes, algorithm.start + i) != sha2_oid[i])
			return false;
	u8 arc = DER_AT(bytes, algorithm.start + sizeof(sha2_oid));

	return arc >= 1 && arc <= 3;
}

/* Is what lies from @at to @end a signature of the shape that we take? Global for
 * the same reason. */
__noinline int pkcs7_shape(struct der_bytes *bytes, u32 at, u32 end)
{
	struct der part, outer, info;

	if (!bytes)
		return false;
	outer = der(bytes, at, end, DER_SEQUENCE); /* ContentInfo */
	if (!outer.end || outer.end != end)
		return false;
	part = der(bytes, outer.start, end, DER_OID);
	if (!part.end)
		return false;
	outer = der(bytes, part.end, end, DER_CONTEXT_0);
	if (outer.end != end)
		return false;
	outer = der(bytes, outer.start, end, DER_SEQUENCE); /* SignedData */
	if (outer.end != end)
		return false;
	part = der(bytes, outer.start, end, DER_INTEGER);
	if (!part.end)
		return false;
	part = der(bytes, part.end, end, DER_SET); /* digestAlgorithms */
	if (!part.end)
		return false;
	part = der(bytes, part.end, end, DER_SEQUENCE); /* contentInfo */
	if (!part.end)
		return false;
	info = der(bytes, part.start, part.end, DER_OID);
	if (!info.end || info.end != part.end) /* detached: the type alone */
		return false;
	/* Certificates ([0]) or CRLs ([1]) would stand here. */
	outer = der(bytes, part.end, end, DER_SET); /* signerInfos */
	if (outer.end != end)
		return false;
	info = der(bytes, outer.start, end, DER_SEQUENCE); /* the only one */
	if (info.end != end)
		return false;
	part = der(bytes, info.start, end, DER_INTEGER);
	if (!part.end)
		return false;
	part = der(bytes, part.end, end, DER_SEQUENCE); /* issuerAndSerialNumber */
	if (!part.end)
		return false;
	part = der(bytes, part.end, end, DER_SEQUENCE); /* digestAlgorithm */
	if (!part.end || !is_sha2(bytes, part))
		return false;
	/* Signed attributes ([0]) would stand here. */
	part = der(bytes, part.end, end, DER_SEQUENCE); /* digestEncryptionAlgorithm */
	if (!part.end)
		return false;
	/* Unsigned attributes ([1]) would stand behind the last. */
	part = der(bytes, part.end, end, DER_OCTET_STRING);
	return part.end == end;
}

#endif
