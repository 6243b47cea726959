/*
 * load ADDR:PORT [--mode echo|churn|idle|deaf|announce|bystander|open] [options]
 *
 * Its dialogue: it prints `ready` when every connection stands and is warm.
 * At each `go` it runs for one window and prints one line of JSON; it holds
 * its connections until `stop` (or the end of its input). Between these lines
 * it sends nothing, so that what the server used can be read off in peace.
 */
#define _GNU_SOURCE
#include "load.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { SPARE_SECONDS = 300, LARGEST_SIZE = 64 << 20, DEEPEST = 4096 };

struct mode {
    const char *name;
    void (*prepare)(void);
    void (*measure)(void);
};

static const struct mode modes[] = {
    {"echo", echo_prepare, echo_measure},
    {"churn", churn_prepare, churn_measure},
    {"idle", idle_prepare, silent_measure},
    {"deaf", deaf_prepare, silent_measure},
    {"announce", announce_prepare, silent_measure},
    {"bystander", bystander_prepare, bystander_measure},
    {"open", open_prepare, open_measure},
};

struct options options = {
    .mode = "echo",
    .connections = 1,
    .depth = 1,
    .size_min = 64,
    .size_max = 64,
    .announce = 8 << 20,
    .seconds = 2,
    .warmup = 0.5,
    .rate = 500,
};
struct result result;
char read_buffer[READ_BUFFER], write_buffer[WRITE_BUFFER];

static void usage(const char *what)
{
    fprintf(stderr,
            "load: %s\n"
            "usage: load ADDR:PORT [--mode MODE] [--connections N] [--depth D]\n"
            "            [--size BYTES | --size MIN-MAX] [--seconds S] [--warmup S]\n"
            "            [--frames N] [--announce BYTES] [--rate HZ]\n"
            "modes: echo churn idle deaf announce bystander open\n",
            what);
    exit(2);
}

static void set_size(const char *text)
{
    const char *dash = strchr(text, '-');
    options.size_min = (uint32_t)strtoul(text, NULL, 10);
    options.size_max = dash ? (uint32_t)strtoul(dash + 1, NULL, 10) : options.size_min;
    if (options.size_max < options.size_min || options.size_max > LARGEST_SIZE)
        usage("bad --size");
}

static void set_option(int letter, const char *value)
{
    switch (letter) {
    case 'm': options.mode = value; break;
    case 'c': options.connections = (uint32_t)strtoul(value, NULL, 10); break;
    case 'd': options.depth = (uint32_t)strtoul(value, NULL, 10); break;
    case 's': set_size(value); break;
    case 't': options.seconds = strtod(value, NULL); break;
    case 'w': options.warmup = strtod(value, NULL); break;
    case 'n': options.frames = strtoull(value, NULL, 10); break;
    case 'a': options.announce = (uint32_t)strtoul(value, NULL, 10); break;
    case 'r': options.rate = strtod(value, NULL); break;
    default: usage("unknown option");
    }
}

static void parse(int argc, char **argv)
{
    static const struct option names[] = {
        {"mode", 1, NULL, 'm'},     {"connections", 1, NULL, 'c'}, {"depth", 1, NULL, 'd'},
        {"size", 1, NULL, 's'},     {"seconds", 1, NULL, 't'},     {"warmup", 1, NULL, 'w'},
        {"frames", 1, NULL, 'n'},   {"announce", 1, NULL, 'a'},    {"rate", 1, NULL, 'r'},
        {NULL, 0, NULL, 0},
    };
    int letter;
    while ((letter = getopt_long(argc, argv, "", names, NULL)) != -1)
        set_option(letter, optarg);
    if (optind + 1 != argc)
        usage("one ADDR:PORT, please");
    if (options.connections == 0 || options.depth == 0 || options.depth > DEEPEST)
        usage("--connections and --depth start at 1");
    if (!(options.seconds > 0) || !(options.warmup >= 0) || !(options.rate > 0))
        usage("bad --seconds, --warmup or --rate");
    options.target = argv[optind];
}

static const struct mode *find_mode(void)
{
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (strcmp(modes[i].name, options.mode) == 0)
            return &modes[i];
    }
    usage("unknown --mode");
    return NULL;
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* Whatever happens to the harness or the server, this process ends. */
static void live_on(void)
{
    alarm((unsigned)(options.seconds + options.warmup) + SPARE_SECONDS);
}

/* False once the harness wants no more windows. */
static bool told_to_go(void)
{
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        if (strncmp(line, "go", 2) == 0)
            return true;
        if (strncmp(line, "stop", 4) == 0)
            return false;
    }
    return false;
}

/* What a schedule's latency counts from, where there is one, and else from the sending. */
static void report(void)
{
    enum latency which = hist_has(FROM_DUE) ? FROM_DUE : FROM_SENT;
    printf("{\"messages\":%llu,\"bytes\":%llu,\"seconds\":%.6f,\"p50_us\":%.2f,"
           "\"p99_us\":%.2f,\"p999_us\":%.2f,\"max_us\":%.2f,\"sent_p50_us\":%.2f,\"errors\":%llu,\"closed\":%llu}\n",
           (unsigned long long)result.messages, (unsigned long long)result.bytes, result.seconds,
           hist_us(which, 0.50), hist_us(which, 0.99), hist_us(which, 0.999), hist_max_us(which),
           hist_us(FROM_SENT, 0.50), (unsigned long long)result.errors, (unsigned long long)result.closed);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    const struct mode *mode = find_mode();
    live_on();
    raise_descriptor_limit();
    net_target(options.target);
    stream_init();
    mode->prepare();
    puts("ready");
    fflush(stdout);
    while (told_to_go()) {
        live_on();
        mode->measure();
        report();
    }
    return 0;
}
