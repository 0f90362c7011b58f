/* What survives a power cut, kept beside the files of a program that knows nothing of it. Loaded with LD_PRELOAD.
 *
 * Below POWERCUT_ROOT every fsync and fdatasync of a file copies what the file holds now to POWERCUT_SHADOW/data/KEY, and
 * that of a directory writes the names in it, with their keys, to POWERCUT_SHADOW/dirs/KEY. Nothing else is durable: not
 * what was written since, not a name whose directory was not synced. KEY is the inode's number and the time it was made,
 * for numbers are used again. The program's own writes go where they always go, whatever call makes them (also maps of
 * memory); the test builds what is left from the shadow and, by dice, some of the rest.
 *
 * POWERCUT_KILL_AT=N    the Nth sync below the root does not happen: the process is killed before it
 * POWERCUT_FAIL=CALL    write, sync, open: calls on files whose path holds POWERCUT_MATCH fail with POWERCUT_ERRNO once
 *                       POWERCUT_AFTER of them have passed; POWERCUT_ONCE: one of them only
 * POWERCUT_COUNT=FILE   the number of syncs so far is kept there
 *
 * Not covered: O_SYNC and O_DSYNC, sync_file_range, syncfs, io_uring: the program uses none of them.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static long synced, matched;
static __thread int inside;

static int path_of(int fd, char *out, size_t room) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, out, room - 1);
    if (n <= 0) return 0;
    out[n] = 0;
    return 1;
}

static int below_root(const char *path) {
    const char *root = getenv("POWERCUT_ROOT");
    size_t n = root ? strlen(root) : 0;
    return n && strncmp(path, root, n) == 0 && (path[n] == '/' || path[n] == 0);
}

static int key_of(int dir, const char *name, char *out, size_t room, int *is_dir) {
    struct statx s;
    if (statx(dir, name, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &s)) return 0;
    long long at = s.stx_mask & STATX_BTIME ? (long long)s.stx_btime.tv_sec * 1000000000LL + s.stx_btime.tv_nsec : 0;
    snprintf(out, room, "%llu-%lld", (unsigned long long)s.stx_ino, at);
    *is_dir = S_ISDIR(s.stx_mode);
    return 1;
}

/* In place, block by block, and only what differs: to be killed in the middle leaves some of it, as a disk does. */
static void copy_data(int fd, const char *to) {
    static char now[65536], then[65536];
    int out = open(to, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (out < 0) return;
    char from[64];
    snprintf(from, sizeof from, "/proc/self/fd/%d", fd);
    int in = open(from, O_RDONLY | O_CLOEXEC);
    off_t at = 0;
    for (;;) {
        ssize_t n = in < 0 ? 0 : pread(in, now, sizeof now, at);
        if (n <= 0) break;
        ssize_t m = pread(out, then, (size_t)n, at);
        if (m != n || memcmp(now, then, (size_t)n)) {
            ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite");
            if (real(out, now, (size_t)n, at) != n) abort();
        }
        at += n;
    }
    int (*cut)(int, off_t) = dlsym(RTLD_NEXT, "ftruncate");
    if (cut(out, at)) abort();
    if (in >= 0) close(in);
    close(out);
}

static void copy_names(int fd, const char *to) {
    char draft[4200], from[64];
    snprintf(draft, sizeof draft, "%s.new", to);
    snprintf(from, sizeof from, "/proc/self/fd/%d", fd);
    DIR *dir = opendir(from);
    FILE *out = fopen(draft, "w");
    if (!dir || !out) abort();
    for (struct dirent *entry; (entry = readdir(dir));) {
        char key[64];
        int is_dir;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        if (key_of(dirfd(dir), entry->d_name, key, sizeof key, &is_dir))
            fprintf(out, "%c %s %s\n", is_dir ? 'd' : 'f', key, entry->d_name);
    }
    fclose(out);
    closedir(dir);
    if (rename(draft, to)) abort();
}

static void count(void) {
    const char *file = getenv("POWERCUT_COUNT");
    FILE *out = file ? fopen(file, "w") : 0;
    if (out) {
        fprintf(out, "%ld", synced);
        fclose(out);
    }
}

static int fails_at(const char *call, const char *path) {
    const char *wanted = getenv("POWERCUT_FAIL"), *match = getenv("POWERCUT_MATCH");
    if (inside || !wanted || !match || strcmp(wanted, call)) return 0;
    if (!below_root(path) || !strstr(path, match)) return 0;
    const char *after = getenv("POWERCUT_AFTER"), *error = getenv("POWERCUT_ERRNO");
    pthread_mutex_lock(&turn);
    long n = matched++, first = after ? atol(after) : 0;
    pthread_mutex_unlock(&turn);
    if (n < first || (getenv("POWERCUT_ONCE") && n > first)) return 0;
    errno = error ? atoi(error) : EIO;
    return 1;
}

static int fails(const char *call, int fd) {
    char path[4096];
    return path_of(fd, path, sizeof path) && fails_at(call, path);
}

/* Names that are not absolute begin where the process is. */
static int open_fails(const char *name) {
    char path[8192], here[4096];
    if (!name) return 0;
    if (name[0] == '/' || !getcwd(here, sizeof here)) return fails_at("open", name);
    snprintf(path, sizeof path, "%s/%s", here, name);
    return fails_at("open", path);
}

#define OPENS(NAME)                                                    \
    int NAME(const char *name, int flags, ...) {                       \
        int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, #NAME); \
        va_list more;                                                  \
        va_start(more, flags);                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more);                                                  \
        return open_fails(name) ? -1 : real(name, flags, mode);        \
    }
OPENS(open)
OPENS(open64)

static int durable(const char *call, int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, call);
    char path[4096], key[64], to[4160];
    int is_dir;
    const char *shadow = getenv("POWERCUT_SHADOW");
    if (fails("sync", fd)) return -1;
    if (!shadow || inside || !path_of(fd, path, sizeof path) || !below_root(path)) return real(fd);
    pthread_mutex_lock(&turn);
    inside = 1;
    synced++;
    count();
    const char *at = getenv("POWERCUT_KILL_AT");
    if (at && synced >= atol(at)) {
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
    if (key_of(fd, "", key, sizeof key, &is_dir)) {
        snprintf(to, sizeof to, "%s/%s/%s", shadow, is_dir ? "dirs" : "data", key);
        if (is_dir)
            copy_names(fd, to);
        else
            copy_data(fd, to);
    }
    inside = 0;
    pthread_mutex_unlock(&turn);
    return 0;
}

int fsync(int fd) { return durable("fsync", fd); }
int fdatasync(int fd) { return durable("fdatasync", fd); }

ssize_t write(int fd, const void *octets, size_t n) {
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    return fails("write", fd) ? -1 : real(fd, octets, n);
}

ssize_t writev(int fd, const struct iovec *parts, int n) {
    ssize_t (*real)(int, const struct iovec *, int) = dlsym(RTLD_NEXT, "writev");
    return fails("write", fd) ? -1 : real(fd, parts, n);
}

ssize_t pwrite(int fd, const void *octets, size_t n, off_t at) {
    ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite");
    return fails("write", fd) ? -1 : real(fd, octets, n, at);
}

ssize_t pwrite64(int fd, const void *octets, size_t n, off64_t at) {
    ssize_t (*real)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
    return fails("write", fd) ? -1 : real(fd, octets, n, at);
}

int ftruncate(int fd, off_t length) {
    int (*real)(int, off_t) = dlsym(RTLD_NEXT, "ftruncate");
    return fails("write", fd) ? -1 : real(fd, length);
}

int ftruncate64(int fd, off64_t length) {
    int (*real)(int, off64_t) = dlsym(RTLD_NEXT, "ftruncate64");
    return fails("write", fd) ? -1 : real(fd, length);
}
