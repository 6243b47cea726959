/*
 * A log-linear histogram of nanoseconds: 256 steps in every power of two, so
 * a reported quantile is within 0.4 % of the true one.
 */
#include "load.h"

#include <string.h>

enum { BITS = 8, STEPS = 1 << BITS, BUCKETS = (64 - BITS + 1) * STEPS };

static struct {
    uint64_t counts[BUCKETS], total, largest;
} hists[LATENCIES];

static unsigned bucket_of(uint64_t ns)
{
    if (ns < STEPS)
        return (unsigned)ns;
    unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - BITS;
    return (shift + 1) * STEPS + (unsigned)(ns >> shift) - STEPS;
}

static uint64_t value_of(unsigned bucket)
{
    if (bucket < STEPS)
        return bucket;
    unsigned shift = bucket / STEPS - 1;
    return ((uint64_t)(bucket % STEPS) + STEPS) << shift;
}

void hist_reset(void)
{
    memset(hists, 0, sizeof hists);
}

void hist_add(enum latency which, uint64_t ns)
{
    hists[which].counts[bucket_of(ns)]++;
    hists[which].total++;
    if (ns > hists[which].largest)
        hists[which].largest = ns;
}

bool hist_has(enum latency which)
{
    return hists[which].total > 0;
}

double hist_us(enum latency which, double quantile)
{
    const uint64_t *counts = hists[which].counts;
    uint64_t below = 0, want = (uint64_t)(quantile * (double)hists[which].total);
    for (unsigned i = 0; i < BUCKETS; i++) {
        below += counts[i];
        if (counts[i] && below > want)
            return (double)value_of(i) / 1000.0;
    }
    return hist_max_us(which);
}

double hist_max_us(enum latency which)
{
    return (double)hists[which].largest / 1000.0;
}
