#define _GNU_SOURCE

#include "places.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TUN_PATH "/dev/net/tun"
#define NO_RIGHT \
    "network namespaces cannot be made: that takes root with CAP_SYS_ADMIN, or a user who may make user " \
    "namespaces"
/* A killed process is gone within this, or the next round meets it again. */
#define SWEEP_WAIT_MS 100
/* So often is looked again for who was just being born; more than any real tree of processes is deep. */
#define SWEEP_ROUNDS 50

/* Why something failed: the words, then what the kernel said. */
static bool fail_of(char *why, size_t size, const char *words, int error) {
    snprintf(why, size, "%s: %s", words, strerror(error));
    return false;
}

static bool fail(char *why, size_t size, const char *words) {
    return fail_of(why, size, words, errno);
}

/* Returns 0 or what errno was. */
static int write_file(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno;
    }
    int error = write(fd, text, strlen(text)) < 0 ? errno : 0;
    close(fd);
    return error;
}

/* A user namespace in which this user keeps the number it has and may make network namespaces. */
static bool own_user_namespace(char *why, size_t size) {
    char uid_map[48];
    char gid_map[48];
    snprintf(uid_map, sizeof uid_map, "%u %u 1", geteuid(), geteuid());
    snprintf(gid_map, sizeof gid_map, "%u %u 1", getegid(), getegid());
    if (unshare(CLONE_NEWUSER) != 0) {
        return fail(why, size, NO_RIGHT);
    }
    const char *const written[][2] = {
        {"/proc/self/uid_map", uid_map}, {"/proc/self/setgroups", "deny"}, {"/proc/self/gid_map", gid_map}};
    for (size_t i = 0; i < sizeof written / sizeof *written; i++) {
        int error = write_file(written[i][0], written[i][1]);
        if (error != 0) {
            return fail_of(why, size, NO_RIGHT, error);
        }
    }
    return true;
}

static bool up(int control, const char *name) {
    struct ifreq request = {0};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    if (ioctl(control, SIOCGIFFLAGS, &request) != 0) {
        return false;
    }
    request.ifr_flags = (short)(request.ifr_flags | IFF_UP);
    return ioctl(control, SIOCSIFFLAGS, &request) == 0;
}

static bool set_address(int control, unsigned long what, uint32_t value) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(value)};
    struct ifreq request = {0};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", PLACE_INTERFACE);
    memcpy(&request.ifr_addr, &address, sizeof address);
    return ioctl(control, what, &request) == 0;
}

/* The same at every run, so that captures compare. */
static bool set_mac(int control, uint8_t number) {
    const uint8_t mac[6] = {2, 't', 'w', 0, 0, number};
    struct ifreq request = {0};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", PLACE_INTERFACE);
    request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
    memcpy(request.ifr_hwaddr.sa_data, mac, sizeof mac);
    return ioctl(control, SIOCSIFHWADDR, &request) == 0;
}

/* The TAP of the namespace that the process is in. */
static bool furnish(struct place *place, char *why, size_t size) {
    place->tap_fd = open(TUN_PATH, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (place->tap_fd < 0) {
        return fail(why, size, "a TAP cannot be made: " TUN_PATH " cannot be opened");
    }
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", PLACE_INTERFACE);
    if (ioctl(place->tap_fd, TUNSETIFF, &request) != 0) {
        return fail(why, size, "a TAP cannot be made");
    }
    /* IPv6 talks by itself, which would be counted; where the kernel has none, there is nothing to turn off. */
    int error = write_file("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
    if (error != 0 && error != ENOENT) {
        return fail_of(why, size, "IPv6 cannot be turned off in a network namespace", error);
    }
    int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (control < 0) {
        return fail(why, size, "no socket in a network namespace");
    }
    bool done = set_mac(control, (uint8_t)place->address) && set_address(control, SIOCSIFADDR, place->address)
                && set_address(control, SIOCSIFNETMASK, PLACE_MASK) && up(control, "lo")
                && up(control, PLACE_INTERFACE);
    if (!done) {
        fail(why, size, "a TAP cannot be given its address");
    }
    close(control);
    return done;
}

static bool make_place(struct place *place, char *why, size_t size) {
    if (!furnish(place, why, size)) {
        return false;
    }
    place->net_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    return place->net_fd >= 0 || fail(why, size, "a network namespace cannot be held");
}

bool places_make(struct places *places, bool with_near, char *why, size_t why_size) {
    *places = (struct places){
        .user_fd = -1,
        .near = {.net_fd = -1, .tap_fd = -1, .address = PLACE_NET | 2},
        .far = {.net_fd = -1, .tap_fd = -1, .address = PLACE_NET | 1},
    };
    if (unshare(CLONE_NEWNET) != 0) {
        if (errno != EPERM) {
            return fail(why, why_size, "network namespaces cannot be made");
        }
        if (!own_user_namespace(why, why_size)) {
            return false;
        }
        if (unshare(CLONE_NEWNET) != 0) {
            return fail(why, why_size, NO_RIGHT);
        }
        places->user_fd = open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC);
        if (places->user_fd < 0) {
            return fail(why, why_size, "a user namespace cannot be held");
        }
    }
    if (!make_place(&places->far, why, why_size)) {
        return false;
    }
    if (!with_near) {
        return true;
    }
    if (unshare(CLONE_NEWNET) != 0) {
        return fail(why, why_size, "a second network namespace cannot be made");
    }
    return make_place(&places->near, why, why_size);
}

int place_socket(const struct places *places, const struct place *place) {
    if (place->net_fd < 0 || setns(place->net_fd, CLONE_NEWNET) != 0) {
        return -1;
    }
    int made = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* Back to where it began: nobody but the caller depends on where it is, and it need not know. */
    int home = places->near.net_fd >= 0 ? places->near.net_fd : places->far.net_fd;
    if (setns(home, CLONE_NEWNET) != 0 && made >= 0) {
        close(made);
        made = -1;
    }
    return made;
}

static bool lives_in(const char *pid, const int *net_fds, size_t count) {
    char path[sizeof "/proc//ns/net" + 20];
    struct stat home;
    snprintf(path, sizeof path, "/proc/%s/ns/net", pid);
    if (stat(path, &home) != 0) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        struct stat place;
        if (fstat(net_fds[i], &place) == 0 && place.st_dev == home.st_dev && place.st_ino == home.st_ino) {
            return true;
        }
    }
    return false;
}

/* Whether it was met there. */
static bool kill_in(const char *name, const int *net_fds, size_t count) {
    char *end = NULL;
    long pid = strtol(name, &end, 10);
    if (*end != '\0' || pid <= 0 || pid == getpid()) {
        return false;
    }
    /* Held before it is looked at, so that it is not another one by the time it is killed. */
    int process = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0U);
    if (process < 0) {
        return false;
    }
    bool found = lives_in(name, net_fds, count);
    if (found && syscall(SYS_pidfd_send_signal, process, SIGKILL, NULL, 0U) == 0) {
        struct pollfd gone = {.fd = process, .events = POLLIN};
        poll(&gone, 1, SWEEP_WAIT_MS);
    }
    close(process);
    return found;
}

void places_sweep(const int *net_fds, size_t count) {
    bool found = true;
    for (int round = 0; found && round < SWEEP_ROUNDS; round++) {
        found = false;
        DIR *processes = opendir("/proc");
        if (processes == NULL) {
            return;
        }
        for (struct dirent *entry; (entry = readdir(processes)) != NULL;) {
            found = kill_in(entry->d_name, net_fds, count) || found;
        }
        closedir(processes);
    }
}
