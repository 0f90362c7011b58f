/* A disk that writes slowly: whatever is written to files whose path holds SLOWDISK_DIR takes its time, as if the disk took
 * SLOWDISK_RATE bytes a second. Loaded before the program (LD_PRELOAD). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FILES 65536
static char slow[FILES];
static pthread_mutex_t disk = PTHREAD_MUTEX_INITIALIZER;

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static void mark(int fd, const char *path) {
    const char *dir = getenv("SLOWDISK_DIR");
    if (fd >= 0 && fd < FILES) slow[fd] = dir && path && strstr(path, dir) != NULL;
}

/* One disk: writers wait for one another. */
static void take(int fd, ssize_t bytes) {
    const char *rate = getenv("SLOWDISK_RATE");
    if (fd < 0 || fd >= FILES || !slow[fd] || bytes <= 0 || !rate || atof(rate) <= 0) return;
    double seconds = (double)bytes / atof(rate);
    struct timespec wait = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    pthread_mutex_lock(&disk);
    nanosleep(&wait, NULL);
    pthread_mutex_unlock(&disk);
}

#define OPEN(name)                                                          \
    int name(const char *path, int flags, ...) {                            \
        va_list more;                                                       \
        va_start(more, flags);                                              \
        mode_t mode = va_arg(more, mode_t);                                 \
        va_end(more);                                                       \
        int fd = ((int (*)(const char *, int, ...))real(#name))(path, flags, mode); \
        mark(fd, path);                                                     \
        return fd;                                                          \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                        \
    int name(int at, const char *path, int flags, ...) {                    \
        va_list more;                                                       \
        va_start(more, flags);                                              \
        mode_t mode = va_arg(more, mode_t);                                 \
        va_end(more);                                                       \
        int fd = ((int (*)(int, const char *, int, ...))real(#name))(at, path, flags, mode); \
        mark(fd, path);                                                     \
        return fd;                                                          \
    }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int fd, const void *octets, size_t count) {
    ssize_t done = ((ssize_t (*)(int, const void *, size_t))real("write"))(fd, octets, count);
    take(fd, done);
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    ssize_t done = ((ssize_t (*)(int, const struct iovec *, int))real("writev"))(fd, parts, count);
    take(fd, done);
    return done;
}

int close(int fd) {
    if (fd >= 0 && fd < FILES) slow[fd] = 0;
    return ((int (*)(int))real("close"))(fd);
}
