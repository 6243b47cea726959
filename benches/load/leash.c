/*
 * Runs a command so that it cannot outlive the benchmark, on one CPU, and
 * before what else runs there.
 *
 *     leash CPU PRIORITY COMMAND [ARGUMENT...]
 *
 * CPU counts the CPUs this process may use, from 0; `-` pins to none.
 * PRIORITY is one of SCHED_FIFO, from 1; 0 leaves the command among the
 * others. All settings and the alarm survive the exec, so the command itself
 * needs to know nothing of them: the kernel kills it when the harness dies.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { LONGEST_RUN_SECONDS = 2 * 60 * 60, NOT_PERMITTED = 126 };

/* The `nth` CPU of those allowed becomes the only one. */
static int pin(int nth)
{
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof allowed, &allowed) < 0)
        return -1;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed) || nth-- > 0)
            continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        return sched_setaffinity(0, sizeof one, &one);
    }
    return -1;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: leash CPU PRIORITY COMMAND [ARGUMENT...]\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(LONGEST_RUN_SECONDS);
    if (strcmp(argv[1], "-") != 0 && pin(atoi(argv[1])) < 0)
        perror("leash: cannot pin to one CPU");
    struct sched_param priority = {.sched_priority = atoi(argv[2])};
    if (priority.sched_priority > 0 && sched_setscheduler(0, SCHED_FIFO, &priority) < 0) {
        perror("leash: SCHED_FIFO");
        return NOT_PERMITTED;
    }
    execvp(argv[3], argv + 3);
    perror(argv[3]);
    return 127;
}
