/*
 * The first bytes of the binary. Behind them stand the files of the program, a table of them, and a tail of a fixed
 * size (see seal.py). Once for each build, and each user, it writes the files into a folder; then, and at each later
 * start, it becomes the program in it: one process, with the pid, the signals and the descriptors that it was given.
 *
 * A copy of it without files lies in the folder under the name `python`: it becomes the same program, and asks it to
 * take the words of an interpreter (see inside.py).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MAGIC "daemun-1"
#define NEW_FILE (O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC)

struct tail {
    uint64_t files_at, table_at;  /* offsets in this file; the tail begins where the table ends */
    char key[32];                 /* names this build */
    char magic[8];
};

struct entry {
    unsigned mode;
    uint64_t size;
    const char *path; /* relative to the folder */
};

static const char *self;
static const char *image;
static struct tail tail;
static const char *table_end;

/* Reads the entry at `at`, and returns where the next one begins. */
static const char *next(const char *at, struct entry *entry) {
    char *end;
    entry->mode = (unsigned)strtoul(at, &end, 8);
    entry->size = strtoull(end, &end, 10);
    entry->path = end + 1;
    return entry->path + strlen(entry->path) + 1;
}

static int join(char *path, const char *folder, const char *name) {
    return snprintf(path, PATH_MAX, "%s/%s", folder, name) < PATH_MAX ? 0 : -1;
}

/* Whether the folder is one that no other user but root could have written into. */
static int is_ours(const char *folder) {
    struct stat st;
    return lstat(folder, &st) == 0 && S_ISDIR(st.st_mode) && (st.st_uid == geteuid() || st.st_uid == 0) &&
           (st.st_mode & 022) == 0;
}

/* Whether every file is there: what clears temporary folders away may have taken some. */
static int is_whole(const char *folder) {
    struct entry entry;
    char path[PATH_MAX];
    for (const char *at = image + tail.table_at; at < table_end;) {
        struct stat st;
        at = next(at, &entry);
        if (join(path, folder, entry.path) || stat(path, &st) || (uint64_t)st.st_size != entry.size) return 0;
    }
    return 1;
}

static int forget(const char *path, const struct stat *st, int kind, struct FTW *ftw) {
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

static void clear(const char *folder) {
    nftw(folder, forget, 16, FTW_DEPTH | FTW_PHYS);
}

static int make_parents(char *path, size_t from) {
    for (char *slash = path + from; (slash = strchr(slash, '/')) != NULL; *slash++ = '/') {
        *slash = '\0';
        int failed = mkdir(path, 0755) && errno != EEXIST;
        if (failed) return -1;
    }
    return 0;
}

static int write_files(const char *folder) {
    struct entry entry;
    char path[PATH_MAX];
    const char *content = image + tail.files_at;
    for (const char *at = image + tail.table_at; at < table_end;) {
        at = next(at, &entry);
        if (join(path, folder, entry.path)) return -1;
        int file = open(path, NEW_FILE, entry.mode);
        if (file < 0 && errno == ENOENT && make_parents(path, strlen(folder) + 1) == 0)
            file = open(path, NEW_FILE, entry.mode);
        if (file < 0) return -1;
        for (const char *end = content + entry.size; content < end;) {
            ssize_t written = write(file, content, (size_t)(end - content));
            if (written <= 0) {
                close(file);
                return -1;
            }
            content += written;
        }
        if (close(file)) return -1;
    }
    return chmod(folder, 0755);
}

/* Writes the files beside `folder` and moves them there in one step: nobody ever sees half of them. */
static int unpack(const char *base, const char *folder) {
    char fresh[PATH_MAX];
    if (join(fresh, base, ".daemun-XXXXXX") || mkdtemp(fresh) == NULL) return -1;
    if (write_files(fresh) == 0) {
        if (rename(fresh, folder) == 0) return 0;
        if (is_ours(folder) && !is_whole(folder)) clear(folder);
        if (rename(fresh, folder) == 0) return 0;
    }
    clear(fresh);
    return is_ours(folder) && is_whole(folder) ? 0 : -1; /* another start was faster */
}

/* Becomes the program in `folder`, which finds its libraries there. Returns if that cannot be. */
static void become(const char *folder, char **argv) {
    char program[PATH_MAX], libraries[PATH_MAX];
    if (join(program, folder, "daemun") || join(libraries, folder, "_internal")) return;
    const char *before = getenv("LD_LIBRARY_PATH");
    char *search = libraries;
    if (before != NULL && before[0] && asprintf(&search, "%s:%s", libraries, before) < 0) return;
    setenv("LD_LIBRARY_PATH", search, 1);
    argv[0] = program; /* it finds itself by this name where there is no /proc */
    execv(program, argv);
}

/* Becomes the program in a folder beneath `base`; returns if nothing can be written or executed there. What root
   unpacked, in an image for instance, is for all; others have a folder each. */
static void become_beneath(const char *base, char **argv) {
    char name[64], folder[PATH_MAX];
    struct statvfs fs;
    if (base == NULL || base[0] != '/' || statvfs(base, &fs) || (fs.f_flag & ST_NOEXEC)) return;
    if (strcmp(base, "/") == 0) base = "";
    snprintf(name, sizeof name, "daemun-%.32s", tail.key);
    if (join(folder, base, name)) return;
    if (geteuid() != 0 && !(is_ours(folder) && is_whole(folder))) {
        snprintf(name + strlen(name), sizeof name - strlen(name), "-%u", (unsigned)geteuid());
        if (join(folder, base, name)) return;
    }
    if (!(is_ours(folder) && is_whole(folder)) && unpack(base, folder)) return;
    /* What clears temporary folders away leaves those alone that are locked; the lock ends with the process. */
    int held = open(folder, O_RDONLY | O_DIRECTORY);
    if (held >= 0) flock(held, LOCK_SH | LOCK_NB);
    setenv("DAEMUN_BINARY", self, 1);
    become(folder, argv);
    if (held >= 0) close(held);
}

/* Maps this file and finds the tail. */
static int read_image(void) {
    struct stat st;
    int file = open(self, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &st) || (size_t)st.st_size < sizeof(struct tail)) return -1;
    image = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    close(file);
    if (image == MAP_FAILED) return -1;
    table_end = image + st.st_size - sizeof tail;
    memcpy(&tail, table_end, sizeof tail);
    return memcmp(tail.magic, MAGIC, sizeof tail.magic) ? -1 : 0;
}

int main(int argc, char **argv) {
    char resolved[PATH_MAX], beside[PATH_MAX];
    (void)argc;
    const char *called = (const char *)getauxval(AT_EXECFN); /* unlike /proc/self/exe it is there without /proc */
    self = called != NULL ? realpath(called, resolved) : NULL;
    if (self == NULL) {
        fprintf(stderr, "daemun: the binary cannot find itself as %s\n", called != NULL ? called : "?");
        return 1;
    }
    const char *slash = strrchr(self, '/');
    snprintf(beside, sizeof beside, "%.*s", slash > self ? (int)(slash - self) : 1, self);
    if (read_image()) {
        setenv("DAEMUN_AS_PYTHON", "1", 1);
        become(beside, argv);
        fprintf(stderr, "daemun: %s is incomplete\n", self);
        return 1;
    }
    const char *told = getenv("DAEMUN_UNPACK");
    const char *bases[] = {getenv("CACHE_DIRECTORY"), getenv("TMPDIR"), "/tmp", "/var/tmp", "/dev/shm", beside};
    if (told != NULL) become_beneath(told, argv);
    else for (size_t i = 0; i < sizeof bases / sizeof *bases; i++) become_beneath(bases[i], argv);
    fprintf(stderr,
            "daemun: no folder to unpack into (accepted: one that can be written to, on a file system that runs "
            "programs; DAEMUN_UNPACK names it)\n");
    return 1;
}
