/* Becomes a program that a server has started, as it is to be: whose, where, with what, and no longer than the server.

     launch [OPTION]... -- COMMAND [ARGUMENT]...
       --parent PID           the process that started this one: when it ends, so does the program, by SIGKILL
       --user UID             whose the program is; numbers all, names are looked up by who starts this
       --group GID            likewise
       --groups GID,...       likewise; --group without it: no supplementary groups
       --no-new-privileges    nothing the program runs is anybody else's, not by set-user-id nor by capabilities of a file
       --file PATH            the program's file, where it is not COMMAND as it stands; nothing is searched for
       --fd FROM:TO           descriptor FROM is the program's TO: the same, or 3 to 255; several times, in any order
       --limit WHAT:SOFT:HARD a resource limit, by RLIMIT_'s numbers; several times
       --umask OCTAL
       --directory PATH       entered as the program's user
       --report FD            gets the sentence about a failure; it ends without one when the program runs
     launch --kill UID --as SPARE
       kills every process of a user at once, by way of another that nobody uses: none of them can stop it

   The program leads a session and process group of its own, and has no descriptors but 0, 1, 2 and what --fd gives it.
   It replaces this process, so the server's child is the program itself. There is no shell, not even for a file that
   the kernel cannot run. */
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <limits.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Exit statuses: one for each thing that can fail. */
enum {
    BAD_USAGE = 2,
    NO_SESSION = 101,
    NO_DESCRIPTORS = 102,
    NO_LIMIT = 103,
    NO_USER = 104,
    NO_DIRECTORY = 105,
    NO_PRIVILEGES = 106,
    NO_PARENT = 107,
    NOT_KILLED = 108,
    NO_EXECUTION = 126, /* these two as shells have them */
    NO_COMMAND = 127
};

#define MOST_FDS 16
#define MOST_LIMITS 16
#define MOST_GROUPS 64
#define LARGEST_FD 255L
#define LARGEST_ID 0xFFFFFFFEL /* -1 means "as it is" */

struct wanted {
    long parent, user, group, umask, kill, spare;
    gid_t groups[MOST_GROUPS];
    size_t group_count;
    int fds[MOST_FDS][2];
    size_t fd_count;
    long limits[MOST_LIMITS][3];
    size_t limit_count;
    const char *directory, *file;
    int report;
    int no_new_privileges;
};

static int report = STDERR_FILENO;

__attribute__((noreturn)) static void fail(int status, const char *words, const char *what) {
    int cause = errno;
    dprintf(report, "%s%s%s%s\n", words, what, cause != 0 ? ": " : "", cause != 0 ? strerror(cause) : "");
    _exit(status);
}

/* Reads a number of `least` to `most`, up to `end` or the end of the text; returns where it goes on. */
static const char *number(const char *text, int base, long least, long most, char end, long *value) {
    char *after = NULL;
    errno = 0;
    *value = strtol(text, &after, base);
    if (errno != 0 || after == text || *value < least || *value > most || (*after != end && *after != '\0')) {
        errno = 0;
        fail(BAD_USAGE, "launch: not a number that it takes: ", text);
    }
    return *after == '\0' ? after : after + 1;
}

static long whole(const char *text, int base, long least, long most) {
    long value = 0;
    number(text, base, least, most, '\0', &value);
    return value;
}

static void full(size_t count, size_t most, const char *option) {
    if (count == most) {
        fail(BAD_USAGE, "launch: too many of ", option);
    }
}

static void take_groups(struct wanted *wanted, const char *text) {
    while (*text != '\0') {
        long value = 0;
        full(wanted->group_count, MOST_GROUPS, "--groups");
        text = number(text, 10, 1, LARGEST_ID, ',', &value);
        wanted->groups[wanted->group_count++] = (gid_t)value;
    }
}

static void take_fd(struct wanted *wanted, const char *text) {
    long from = 0;
    full(wanted->fd_count, MOST_FDS, "--fd");
    text = number(text, 10, 0, INT_MAX, ':', &from);
    long last = from > LARGEST_FD ? from : LARGEST_FD;
    wanted->fds[wanted->fd_count][0] = (int)from;
    wanted->fds[wanted->fd_count++][1] = (int)whole(text, 10, 3, last);
}

static void take_limit(struct wanted *wanted, const char *text) {
    full(wanted->limit_count, MOST_LIMITS, "--limit");
    long *limit = wanted->limits[wanted->limit_count++];
    text = number(text, 10, 0, RLIM_NLIMITS - 1, ':', &limit[0]);
    text = number(text, 10, 0, LONG_MAX, ':', &limit[1]);
    number(text, 10, limit[1], LONG_MAX, '\0', &limit[2]);
}

static void read_options(struct wanted *wanted, int count, char **words) {
    static const struct option options[] = {
        {"parent", required_argument, NULL, 'p'},
        {"user", required_argument, NULL, 'u'},
        {"group", required_argument, NULL, 'g'},
        {"groups", required_argument, NULL, 'G'},
        {"no-new-privileges", no_argument, NULL, 'n'},
        {"file", required_argument, NULL, 'F'},
        {"fd", required_argument, NULL, 'f'},
        {"limit", required_argument, NULL, 'l'},
        {"umask", required_argument, NULL, 'm'},
        {"directory", required_argument, NULL, 'd'},
        {"report", required_argument, NULL, 'r'},
        {"kill", required_argument, NULL, 'k'},
        {"as", required_argument, NULL, 'a'},
        {NULL, 0, NULL, 0},
    };
    int option = 0;
    while ((option = getopt_long(count, words, "+", options, NULL)) != -1) {
        switch (option) {
        case 'p': wanted->parent = whole(optarg, 10, 1, INT_MAX); break;
        /* Never 0: what starts programs as root has no use for this option. */
        case 'u': wanted->user = whole(optarg, 10, 1, LARGEST_ID); break;
        case 'g': wanted->group = whole(optarg, 10, 1, LARGEST_ID); break;
        case 'G': take_groups(wanted, optarg); break;
        case 'n': wanted->no_new_privileges = 1; break;
        case 'F': wanted->file = optarg; break;
        case 'f': take_fd(wanted, optarg); break;
        case 'l': take_limit(wanted, optarg); break;
        case 'm': wanted->umask = whole(optarg, 8, 0, 0777); break;
        case 'd': wanted->directory = optarg; break;
        case 'r': report = wanted->report = (int)whole(optarg, 10, 3, INT_MAX); break;
        case 'k': wanted->kill = whole(optarg, 10, 1, LARGEST_ID); break;
        case 'a': wanted->spare = whole(optarg, 10, 1, LARGEST_ID); break;
        default: _exit(BAD_USAGE); /* getopt has said it */
        }
    }
}

/* Real and saved user are the spare one, so that none of the user's processes may send this one a signal, while the
   effective one is the user: those that it may send a signal to are exactly those that are to end. */
static void kill_user(const struct wanted *wanted) {
    uid_t user = (uid_t)wanted->kill, spare = (uid_t)wanted->spare;
    if (wanted->spare < 0 || user == spare) {
        fail(BAD_USAGE, "launch: --kill needs --as with another user", "");
    }
    if (setgroups(0, NULL) != 0 || setresuid(spare, user, spare) != 0 || geteuid() != user
        || getuid() != spare) {
        fail(NOT_KILLED, "cannot become the user that is to be killed", "");
    }
    if (kill(-1, SIGKILL) != 0 && errno != ESRCH) {
        fail(NOT_KILLED, "cannot kill a user's processes", "");
    }
}

static void become_user(const struct wanted *wanted) {
    if (wanted->group >= 0) {
        gid_t group = (gid_t)wanted->group;
        if (setgroups(wanted->group_count, wanted->groups) != 0 || setresgid(group, group, group) != 0) {
            fail(NO_USER, "cannot become its group", "");
        }
    }
    if (wanted->user >= 0) {
        uid_t user = (uid_t)wanted->user;
        /* Root and no groups of its own would keep root's. */
        if (wanted->group < 0 || setresuid(user, user, user) != 0) {
            fail(NO_USER, "cannot become its user", "");
        }
    }
}

/* Sources are moved out of the way first: one's source may be another's target. */
static void give_descriptors(struct wanted *wanted) {
    for (size_t i = 0; i < wanted->fd_count; i++) {
        if (wanted->fds[i][0] == wanted->fds[i][1]) {
            continue;
        }
        wanted->fds[i][0] = fcntl(wanted->fds[i][0], F_DUPFD_CLOEXEC, (int)LARGEST_FD + 1);
        if (wanted->fds[i][0] < 0) {
            fail(NO_DESCRIPTORS, "cannot pass on a descriptor", "");
        }
    }
    if (wanted->report >= 0) {
        report = fcntl(wanted->report, F_DUPFD_CLOEXEC, (int)LARGEST_FD + 1);
        if (report < 0) {
            report = STDERR_FILENO;
            fail(NO_DESCRIPTORS, "cannot keep the report's descriptor", "");
        }
    }
    /* Not closed but to be closed, so that a failure can still be reported. */
    if (close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) != 0) {
        fail(NO_DESCRIPTORS, "cannot close descriptors", "");
    }
    for (size_t i = 0; i < wanted->fd_count; i++) {
        const int *fd = wanted->fds[i];
        if ((fd[0] == fd[1] ? fcntl(fd[0], F_SETFD, 0) : dup2(fd[0], fd[1])) < 0) {
            fail(NO_DESCRIPTORS, "cannot number a descriptor", "");
        }
    }
}

int main(int count, char **words) {
    struct wanted wanted = {
        .parent = -1, .user = -1, .group = -1, .umask = -1, .kill = -1, .spare = -1, .report = -1};
    read_options(&wanted, count, words);
    if (wanted.kill >= 0) {
        kill_user(&wanted);
        return EXIT_SUCCESS;
    }
    errno = 0;
    if (optind >= count) {
        fail(BAD_USAGE, "usage: launch [OPTION]... -- COMMAND [ARGUMENT]...", "");
    }
    if (getsid(0) != getpid() && setsid() < 0) {
        fail(NO_SESSION, "cannot lead a session", "");
    }
    give_descriptors(&wanted);
    for (size_t i = 0; i < wanted.limit_count; i++) {
        const struct rlimit limit = {(rlim_t)wanted.limits[i][1], (rlim_t)wanted.limits[i][2]};
        if (setrlimit((unsigned)wanted.limits[i][0], &limit) != 0) {
            fail(NO_LIMIT, "cannot set a limit", "");
        }
    }
    if (wanted.umask >= 0) {
        umask((mode_t)wanted.umask);
    }
    become_user(&wanted);
    if (wanted.directory != NULL && chdir(wanted.directory) != 0) {
        fail(NO_DIRECTORY, "cannot enter ", wanted.directory);
    }
    if (wanted.no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L) != 0) {
        fail(NO_PRIVILEGES, "cannot forgo new privileges", "");
    }
    if (wanted.parent >= 0) {
        /* A change of user takes this back, so it comes after; and it tells of no end that was before. */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0L, 0L, 0L) != 0) {
            fail(NO_PARENT, "cannot be told of the server's end", "");
        }
        if (getppid() != (pid_t)wanted.parent) {
            errno = 0;
            fail(NO_PARENT, "the server has ended", "");
        }
    }
    /* To run what it is given is what it is for. */
    const char *file = wanted.file != NULL ? wanted.file : words[optind];
    execv(file, &words[optind]); // NOLINT(clang-analyzer-optin.taint.GenericTaint)
    fail(errno == ENOENT ? NO_COMMAND : NO_EXECUTION, "cannot run ", file);
}
