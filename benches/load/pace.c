/*
 * The bystander: one connection, one frame at a time, on a fixed schedule.
 * Latency is taken from the moment a frame was due, not from when it could be
 * sent, so a stall counts against every round trip it delayed.
 */
#define _GNU_SOURCE
#include "load.h"

#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

static int fd;
static struct cursor sent, seen;

static void sleep_until(uint64_t ns)
{
    struct timespec at = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

static bool round_trip(void)
{
    uint64_t frame = sent.frame + 1;
    while (sent.frame < frame) {
        struct cursor next = sent;
        size_t len = stream_fill(&next, 0, frame, write_buffer, WRITE_BUFFER);
        ssize_t n = send(fd, write_buffer, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        stream_skip(&sent, 0, (size_t)n);
    }
    while (seen.frame < frame) {
        ssize_t n = recv(fd, read_buffer, READ_BUFFER, 0);
        if (n <= 0 || !stream_check(&seen, 0, read_buffer, (size_t)n))
            return false;
        result.bytes += (uint64_t)n;
    }
    return true;
}

static void run(double seconds)
{
    result = (struct result){.errors = result.errors};
    hist_reset();
    uint64_t start = now_ns();
    uint64_t gap = (uint64_t)(1e9 / options.rate);
    uint64_t end = start + (uint64_t)(seconds * 1e9);
    for (uint64_t due = start; due < end; due += gap) {
        sleep_until(due);
        if (!round_trip())
            return fault(0, "no reply, or not the bytes sent");
        hist_add(FROM_DUE, now_ns() - due);
        result.messages++;
    }
    result.seconds = (double)(now_ns() - start) / 1e9;
}

void bystander_prepare(void)
{
    prctl(PR_SET_TIMERSLACK, 1);
    fd = net_connect(0);
    run(options.warmup);
}

void bystander_measure(void)
{
    run(options.seconds);
}
