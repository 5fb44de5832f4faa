/* What the shaper runs as processes of its own:

     link-shaper relay CONTROL SEED [DEVICE]   makes the places and carries frames (relay.h); CONTROL and DEVICE are
                                               descriptors. The first message is "+" with the namespaces (user where
                                               there is one, far, near), or "-" and in words what is missing.
     link-shaper enter USER NET COMMAND...     runs a command in the namespaces that these files are; USER may be -
     link-shaper sweep NET...                  kills all processes that live in these network namespaces */
#define _GNU_SOURCE

#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define EXIT_CANNOT 1
#define EXIT_USAGE 2
#define EXIT_NO_COMMAND 127 /* as shells have it */
#define WHY_BYTES 256
/* Where real time is not allowed. */
#define NICENESS (-10)

static int complain(const char *words, const char *what) {
    fprintf(stderr, "link-shaper: %s %s: %s\n", words, what, strerror(errno));
    return EXIT_CANNOT;
}

static int descriptor(const char *text) {
    char *end = NULL;
    long value = strtol(text, &end, 10);
    return *text != '\0' && *end == '\0' && value >= 0 && value < 1 << 20 ? (int)value : -1;
}

/* The relay's lateness would be the link's, so it goes before ordinary processes where it may. It works for some
   microseconds a frame and then sleeps, so it starves nobody. */
static void be_in_time(void) {
    const struct sched_param lowest = {.sched_priority = 1};
    if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &lowest) != 0) {
        setpriority(PRIO_PROCESS, 0, NICENESS);
    }
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
}

static int relay(int count, char **words) {
    char *end = NULL;
    int control = descriptor(words[0]);
    uint64_t seed = strtoull(words[1], &end, 10);
    int device = count > 2 ? descriptor(words[2]) : -1;
    struct places places;
    char why[WHY_BYTES] = "-";
    if (!places_make(&places, device < 0, why + 1, sizeof why - 1)) {
        relay_say(control, why, strlen(why), NULL, 0);
        return EXIT_CANNOT;
    }
    be_in_time();
    const int namespaces[] = {places.user_fd, places.far.net_fd, places.near.net_fd};
    if (relay_say(control, "+", 1, namespaces, 3)) {
        relay_run(&places, device < 0 ? places.near.tap_fd : device, control, seed);
    }
    /* Whoever held the other end is done, or dead: then nobody else ends what it left running here. */
    places_sweep(&namespaces[1], device < 0 ? 2 : 1);
    return EXIT_SUCCESS;
}

static int enter(char **words) {
    for (int i = 0; i < 2; i++) {
        if (i == 0 && strcmp(words[i], "-") == 0) {
            continue;
        }
        int place = open(words[i], O_RDONLY | O_CLOEXEC);
        if (place < 0 || setns(place, i == 0 ? CLONE_NEWUSER : CLONE_NEWNET) != 0) {
            return complain("cannot enter", words[i]);
        }
        close(place);
    }
    /* To run what it is given is what it is for; it runs with the caller's own rights. */
    execvp(words[2], &words[2]); // NOLINT(clang-analyzer-optin.taint.GenericTaint)
    complain("cannot run", words[2]);
    return EXIT_NO_COMMAND;
}

static int sweep(int count, char **words) {
    for (int i = 0; i < count; i++) {
        int place = open(words[i], O_RDONLY | O_CLOEXEC);
        if (place < 0) {
            return complain("cannot open", words[i]);
        }
        places_sweep(&place, 1);
        close(place);
    }
    return EXIT_SUCCESS;
}

int main(int count, char **words) {
    if (count >= 4 && strcmp(words[1], "relay") == 0) {
        return relay(count - 2, words + 2);
    }
    if (count >= 5 && strcmp(words[1], "enter") == 0) {
        return enter(words + 2);
    }
    if (count >= 3 && strcmp(words[1], "sweep") == 0) {
        return sweep(count - 2, words + 2);
    }
    fputs("usage: link-shaper relay CONTROL SEED [DEVICE] | enter USER NET COMMAND... | sweep NET...\n",
        stderr);
    return EXIT_USAGE;
}
