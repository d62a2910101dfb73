/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* sim [--seed N | --seeds A..B] [--trace] [--from SECONDS] [--calm] [--only FAULT]... [--without FAULT]... [--nodes N] [--clients N]
 *     [--train] [--mode average|sweep|sync] [--real-tree] [--twice EVERY] [--keep-going]
 * Runs the seeds; a failure prints its seed, what broke, and the last 50 lines of its trace. Exit status 1 if a seed failed.
 * CPN_SIM_SEEDS=A..B in the environment replaces the default seeds. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct range {
    uint64_t first, last, twice;
    bool keep_going;
};

static const struct {
    const char *name;
    size_t offset;
} faults[] = {
#define FAULT(name) { #name, offsetof(struct mix, name) }
    FAULT(breaks),      FAULT(partitions), FAULT(pauses),   FAULT(crashes), FAULT(master_crashes), FAULT(slow_net), FAULT(slow_disk),
    FAULT(slow_commit), FAULT(lost_commit), FAULT(corrupt), FAULT(no_space), FAULT(copies), FAULT(drains), FAULT(revokes), FAULT(stops),
    FAULT(clients_leave), FAULT(crashes_of_runners), FAULT(admin),
};

static unsigned *fault_of(struct mix *mix, const char *name)
{
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        if (strcmp(faults[i].name, name) == 0) {
            return (unsigned *)(void *)((char *)mix + faults[i].offset);
        }
    }
    fprintf(stderr, "sim: no fault is called %s; there are:", name);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        fprintf(stderr, " %s", faults[i].name);
    }
    fprintf(stderr, "\n");
    exit(2);
}

static void set_all(struct mix *mix, unsigned most)
{
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        *fault_of(mix, faults[i].name) = most;
    }
}

static void parse_range(const char *text, struct range *range)
{
    char *end;
    range->first = range->last = strtoull(text, &end, 10);
    if (strncmp(end, "..", 2) == 0) {
        range->last = strtoull(end + 2, &end, 10);
    }
    if (*end != 0 || end == text || range->last < range->first) {
        fprintf(stderr, "sim: seeds are N or A..B, not %s\n", text);
        exit(2);
    }
}

static const char *value(int argc, char **argv, int *at)
{
    if (*at + 1 >= argc) {
        fprintf(stderr, "sim: %s wants a value\n", argv[*at]);
        exit(2);
    }
    return argv[++*at];
}

static void parse(int argc, char **argv, struct options *options, struct range *range)
{
    bool only = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seed") == 0 || strcmp(argv[i], "--seeds") == 0) {
            parse_range(value(argc, argv, &i), range);
        } else if (strcmp(argv[i], "--trace") == 0) {
            options->trace = true;
        } else if (strcmp(argv[i], "--from") == 0) {
            options->trace_from_us = (int64_t)(strtod(value(argc, argv, &i), NULL) * 1e6);
        } else if (strcmp(argv[i], "--calm") == 0) {
            set_all(&options->mix, 0);
        } else if (strcmp(argv[i], "--only") == 0) {
            if (!only) {
                set_all(&options->mix, 0);
            }
            only = true;
            *fault_of(&options->mix, value(argc, argv, &i)) = 1000;
        } else if (strcmp(argv[i], "--without") == 0) {
            *fault_of(&options->mix, value(argc, argv, &i)) = 0;
        } else if (strcmp(argv[i], "--nodes") == 0) {
            options->nodes = (unsigned)strtoul(value(argc, argv, &i), NULL, 10);
        } else if (strcmp(argv[i], "--clients") == 0) {
            options->clients = (unsigned)strtoul(value(argc, argv, &i), NULL, 10);
        } else if (strcmp(argv[i], "--train") == 0) {
            options->train = true;
        } else if (strcmp(argv[i], "--mode") == 0) {
            options->mode = value(argc, argv, &i);
        } else if (strcmp(argv[i], "--real-tree") == 0) {
            options->real_tree = true;
        } else if (strcmp(argv[i], "--twice") == 0) {
            range->twice = strtoull(value(argc, argv, &i), NULL, 10);
        } else if (strcmp(argv[i], "--keep-going") == 0) {
            range->keep_going = true;
        } else {
            fprintf(stderr, "sim: unknown option %s; see the top of tests/sim/main.c\n", argv[i]);
            exit(2);
        }
    }
}

/* Again, with the trace on: it is the same run. */
static void tell_failure(uint64_t seed, const struct options *options, const struct outcome *outcome)
{
    struct outcome again;
    fprintf(stderr, "sim: seed %llu fails at %.6f s: %s\n", (unsigned long long)seed, (double)outcome->end_us / 1e6, outcome->failure);
    if (options->trace) {
        return;
    }
    trace_reset(true, false);
    sim_run(seed, options, &again);
    trace_dump();
    trace_reset(false, false);
    if (!again.failed || strcmp(again.failure, outcome->failure) != 0) {
        fprintf(stderr, "sim: seed %llu, run again, does not do the same: %s\n", (unsigned long long)seed, again.failure);
    }
    fprintf(stderr, "sim: seed %llu fails at %.6f s: %s\nsim: run it alone with --seed %llu --trace\n", (unsigned long long)seed,
            (double)outcome->end_us / 1e6, outcome->failure, (unsigned long long)seed);
}

static bool run_seed(uint64_t seed, const struct options *options, const struct range *range, struct outcome *sum)
{
    struct outcome outcome, again;
    trace_reset(false, options->trace);
    sim_run(seed, options, &outcome);
    if (outcome.failed) {
        tell_failure(seed, options, &outcome);
        return false;
    }
    if (range->twice != 0 && seed % range->twice == 0) {
        sim_run(seed, options, &again);
        if (again.hash != outcome.hash) {
            fprintf(stderr, "sim: seed %llu does not do the same twice\n", (unsigned long long)seed);
            return false;
        }
    }
    sum->steps += outcome.steps;
    sum->packets += outcome.packets;
    sum->runs += outcome.runs;
    sum->delivered += outcome.delivered;
    sum->sessions += outcome.sessions;
    sum->rounds += outcome.rounds;
    sum->replays += outcome.replays;
    sum->changes += outcome.changes;
    sum->end_us += outcome.end_us;
    sum->hash ^= outcome.hash;
    return true;
}

int main(int argc, char **argv)
{
    struct options options = { 0 };
    struct range range = { .first = 1, .last = 1000, .twice = 20 };
    struct outcome sum = { 0 };
    set_all(&options.mix, 1000);
    if (getenv("CPN_SIM_SEEDS") != NULL) {
        parse_range(getenv("CPN_SIM_SEEDS"), &range);
    }
    parse(argc, argv, &options, &range);
    uint64_t failed = 0;
    clock_t began = clock();
    for (uint64_t seed = range.first; seed <= range.last; seed++) {
        bool good = run_seed(seed, &options, &range, &sum);
        failed += !good;
        if (!good && !range.keep_going) {
            break;
        }
    }
    printf("sim: seeds %llu..%llu: %llu failed, %llu steps, %llu packets, %llu runs, %llu results, %llu sessions completed, %llu rounds, %llu from a change, %llu replayed, %.0f s of virtual time in %.1f s, "
           "hash %016llx\n",
           (unsigned long long)range.first, (unsigned long long)range.last, (unsigned long long)failed, (unsigned long long)sum.steps,
           (unsigned long long)sum.packets, (unsigned long long)sum.runs, (unsigned long long)sum.delivered, (unsigned long long)sum.sessions,
           (unsigned long long)sum.rounds, (unsigned long long)sum.changes, (unsigned long long)sum.replays, (double)sum.end_us / 1e6,
           (double)(clock() - began) / CLOCKS_PER_SEC, (unsigned long long)sum.hash);
    return failed != 0;
}
