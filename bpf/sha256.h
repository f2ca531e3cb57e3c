/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * SHA-256 (FIPS 180-4): no kernel function gives a BPF program one over memory
 * of its own on all the kernels that we support.
 */
#ifndef BPFTRUST_SHA256_H
#define BPFTRUST_SHA256_H

#define SHA256_BLOCK 64
#define SHA256_SIZE 32

/* What is being hashed; in map memory, for who has it alone. */
struct sha256 {
	u64 size; /* bytes so far */
	u32 state[SHA256_SIZE / 4];
	u32 schedule[64];
	union {
		u8 bytes[SHA256_BLOCK]; /* `size` modulo 64 of them wait, then zeros */
		u32 words[SHA256_BLOCK / 4];
		u64 pairs[SHA256_BLOCK / 8];
	};
};

/* What is hashed at once. */
union sha256_input {
	u8 bytes[BT_HASH_MAX];
	u64 pairs[BT_HASH_MAX / 8];
};

static const u32 sha256_constants[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
	0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
	0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
	0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
	0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
	0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
	0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
	0xc67178f2,
};

static __always_inline u32 rotate(u32 word, u32 bits)
{
	return word >> bits | word << (32 - bits);
}

static __always_inline void sha256_begin(struct sha256 *sha)
{
	static const u32 first[SHA256_SIZE / 4] = {
		0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
		0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
	};

	sha->size = 0;
	__builtin_memset(sha->bytes, 0, sizeof(sha->bytes));
	for (u32 i = 0; i < SHA256_SIZE / 4; i++)
		sha->state[i] = first[i];
}

/* The block that is full; an empty one follows. A global function, so that the
 * verifier walks it once. */
__noinline int sha256_block(struct sha256 *sha)
{
	u32 a, b, c, d, e, f, g, h;

	if (!sha)
		return 1;
	for (u32 i = 0; i < 16; i++)
		sha->schedule[i] = __builtin_bswap32(sha->words[i]);
	for (u32 i = 16; i < 64; i++) {
		u32 near = sha->schedule[i - 2], far = sha->schedule[i - 15];

		sha->schedule[i] =
			(rotate(near, 17) ^ rotate(near, 19) ^ near >> 10) + sha->schedule[i - 7] +
			(rotate(far, 7) ^ rotate(far, 18) ^ far >> 3) + sha->schedule[i - 16];
	}
	a = sha->state[0];
	b = sha->state[1];
	c = sha->state[2];
	d = sha->state[3];
	e = sha->state[4];
	f = sha->state[5];
	g = sha->state[6];
	h = sha->state[7];
	for (u32 i = 0; i < 64; i++) {
		u32 first = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +
			    ((e & f) ^ (~e & g)) + sha256_constants[i] + sha->schedule[i];
		u32 second = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) +
			     ((a & b) ^ (a & c) ^ (b & c));

		h = g;
		g = f;
		f = e;
		e = d + first;
		d = c;
		c = b;
		b = a;
		a = first + second;
	}
	sha->state[0] += a;
	sha->state[1] += b;
	sha->state[2] += c;
	sha->state[3] += d;
	sha->state[4] += e;
	sha->state[5] += f;
	sha->state[6] += g;
	sha->state[7] += h;
	__builtin_memset(sha->bytes, 0, sizeof(sha->bytes));
	return 0;
}

/* Bytes of @input from @from on that are being added. */
struct sha256_rest {
	struct sha256 *sha;
	union sha256_input *input;
	u32 from;
};

static int sha256_next(u64 index, struct sha256_rest *rest)
{
	struct sha256 *sha = rest->sha;
	u32 at = rest->from + index;

	if (at >= sizeof(rest->input->bytes))
		return 1;
	sha->bytes[sha->size % SHA256_BLOCK] = rest->input->bytes[at];
	sha->size++;
	if (!(sha->size % SHA256_BLOCK))
		sha256_block(sha);
	return 0;
}

/* Eight bytes at once. */
static int sha256_next_pair(u64 index, struct sha256_rest *rest)
{
	struct sha256 *sha = rest->sha;
	u32 at = index;

	if (at >= sizeof(rest->input->pairs) / 8)
		return 1;
	sha->pairs[sha->size % SHA256_BLOCK / 8] = rest->input->pairs[at];
	sha->size += 8;
	if (!(sha->size % SHA256_BLOCK))
		sha256_block(sha);
	return 0;
}

/* The first @size bytes of @input. What the guard hashes is whole eights, nearly all. */
__noinline int sha256_add(struct sha256 *sha, union sha256_input *input, u32 size)
{
	struct sha256_rest rest = { sha, input, 0 };

	if (!sha || !input || size > sizeof(input->bytes))
		return 1;
	if (!(sha->size % 8)) {
		bpf_loop(size / 8, sha256_next_pair, &rest, 0);
		rest.from = size / 8 * 8;
	}
	bpf_loop(size - rest.from, sha256_next, &rest, 0);
	return 0;
}

/* A one bit, zeros, and the number of bits; then `state`, in big endian. */
__noinline int sha256_end(struct sha256 *sha)
{
	u64 bits;
	u32 used;

	if (!sha)
		return 1;
	bits = sha->size * 8;
	used = sha->size % SHA256_BLOCK;
	sha->bytes[used] = 0x80;
	if (used >= SHA256_BLOCK - sizeof(bits))
		sha256_block(sha);
	sha->words[14] = __builtin_bswap32(bits >> 32);
	sha->words[15] = __builtin_bswap32((u32)bits);
	sha256_block(sha);
	for (u32 i = 0; i < SHA256_SIZE / 4; i++)
		sha->state[i] = __builtin_bswap32(sha->state[i]);
	return 0;
}

#endif
