/*
 * The bytes a connection sends are a pure function of (connection, place), so
 * nothing sent has to be kept: a partial write is made again from its place,
 * and a reply is compared with what that place must hold.
 *
 * A frame is its header, a stamp of connection and frame number (as much of
 * it as fits), and a slice of one table of random bytes at an offset that is
 * a hash of both: filling is a memcpy and checking a memcmp.
 */
#include "load.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

enum { OFFSETS = 64 * 1024, STAMP = 8, PREFIX = HEADER + STAMP };

struct piece {
    const char *bytes;
    size_t len;
};

static char *table;

static uint64_t mix(uint64_t x)
{
    x ^= x >> 31;
    x *= 0x7fb5d329728ea185u;
    x ^= x >> 27;
    x *= 0x81dadef4bc2dd44du;
    return x ^ x >> 33;
}

static uint64_t frame_hash(uint32_t connection, uint64_t frame)
{
    return mix((uint64_t)connection << 40 ^ frame ^ 0x9e3779b97f4a7c15u);
}

void stream_init(void)
{
    size_t len = (size_t)options.size_max + OFFSETS + 8;
    table = malloc(len);
    if (!table)
        die("malloc");
    for (size_t i = 0; i + 8 <= len; i += 8) {
        uint64_t word = mix(i + 0x1234567);
        memcpy(table + i, &word, 8);
    }
}

uint32_t stream_payload_len(uint32_t connection, uint64_t frame)
{
    uint32_t span = options.size_max - options.size_min;
    if (span == 0)
        return options.size_min;
    return options.size_min + (uint32_t)(frame_hash(connection, frame) >> 32) % (span + 1);
}

/* The contiguous bytes from this place on: rest of the prefix, or of the body. */
static struct piece piece_at(struct cursor at, uint32_t connection, uint32_t frame_len, char *prefix)
{
    uint32_t prefix_len = frame_len < PREFIX ? frame_len : PREFIX;
    if (at.offset < prefix_len) {
        uint32_t words[3] = {htonl(frame_len - HEADER), connection, (uint32_t)at.frame};
        memcpy(prefix, words, PREFIX);
        return (struct piece){prefix + at.offset, prefix_len - at.offset};
    }
    size_t slice = frame_hash(connection, at.frame) % OFFSETS;
    return (struct piece){table + slice + (at.offset - PREFIX), frame_len - at.offset};
}

static void advance(struct cursor *at, size_t len, uint32_t frame_len)
{
    at->offset += (uint32_t)len;
    if (at->offset == frame_len) {
        at->frame++;
        at->offset = 0;
    }
}

size_t stream_fill(struct cursor *at, uint32_t connection, uint64_t end, char *out, size_t cap)
{
    char prefix[PREFIX];
    size_t filled = 0;
    while (at->frame < end && filled < cap) {
        uint32_t frame_len = HEADER + stream_payload_len(connection, at->frame);
        struct piece piece = piece_at(*at, connection, frame_len, prefix);
        if (piece.len > cap - filled)
            piece.len = cap - filled;
        memcpy(out + filled, piece.bytes, piece.len);
        filled += piece.len;
        advance(at, piece.len, frame_len);
    }
    return filled;
}

void stream_skip(struct cursor *at, uint32_t connection, size_t len)
{
    while (len > 0) {
        uint32_t frame_len = HEADER + stream_payload_len(connection, at->frame);
        size_t step = frame_len - at->offset;
        if (step > len)
            step = len;
        advance(at, step, frame_len);
        len -= step;
    }
}

bool stream_check(struct cursor *at, uint32_t connection, const char *in, size_t len)
{
    char prefix[PREFIX];
    while (len > 0) {
        uint32_t frame_len = HEADER + stream_payload_len(connection, at->frame);
        struct piece piece = piece_at(*at, connection, frame_len, prefix);
        if (piece.len > len)
            piece.len = len;
        if (memcmp(in, piece.bytes, piece.len) != 0)
            return false;
        in += piece.len;
        len -= piece.len;
        advance(at, piece.len, frame_len);
    }
    return true;
}

uint64_t stream_begun(struct cursor at)
{
    return at.frame + (at.offset > 0);
}
