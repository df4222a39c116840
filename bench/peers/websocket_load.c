/* WebSocket clients: each sends a binary message whenever one has come back, and looks at all that comes. Prints what
 * `load.Load` holds, as JSON; a client that is refused, answered wrongly or cut off ends it with the reason.
 *
 * websocket_load PORT CLIENTS IN_FLIGHT BYTES SECONDS */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 256
#define READ_BYTES 65536
#define LARGEST 65535

static const char GET[] = "GET / HTTP/1.1\r\nHost: bench.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
static const char ACCEPT[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
static const uint8_t MASK[4] = {0x37, 0xfa, 0x21, 0x3d};

struct client {
    int fd;
    uint64_t place; /* in the message that comes */
};

static uint8_t said[LARGEST + 8], back[LARGEST + 4];
static size_t said_bytes, back_bytes;

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

/* Makes the message as it is sent and as it comes back. */
static void compose(size_t content_bytes) {
    if (content_bytes < 126 || content_bytes > LARGEST) fail("a message has 126 bytes to 65535");
    uint8_t head[4] = {0x82, 126, content_bytes >> 8, content_bytes & 0xff};
    memcpy(said, head, 4);
    memcpy(back, head, 4);
    said[1] |= 0x80;
    memcpy(said + 4, MASK, 4);
    for (size_t at = 0; at < content_bytes; at++) {
        back[4 + at] = at * 7 + at / 251;
        said[8 + at] = back[4 + at] ^ MASK[at & 3];
    }
    said_bytes = content_bytes + 8;
    back_bytes = content_bytes + 4;
}

static void say(const struct client *one) {
    if (send(one->fd, said, said_bytes, MSG_NOSIGNAL) != (ssize_t)said_bytes) fail("a message was not taken");
}

static void open_client(struct client *one, int port) {
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct timeval patience = {.tv_sec = 10};
    char head[4096];
    size_t had = 0;
    int yes = 1;
    there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    one->fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(one->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(one->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    setsockopt(one->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (connect(one->fd, (struct sockaddr *)&there, sizeof there)) fail("a client was not let in");
    send(one->fd, GET, sizeof GET - 1, MSG_NOSIGNAL);
    do {
        ssize_t count = recv(one->fd, head + had, sizeof head - 1 - had, 0);
        if (count <= 0) fail("a handshake was not answered");
        had += count;
        head[had] = 0;
    } while (!strstr(head, "\r\n\r\n") && had < sizeof head - 1);
    if (strncmp(head, "HTTP/1.1 101", 12) || !strstr(head, ACCEPT)) fail(head);
}

/* Takes what has come. How many messages that ended. */
static uint64_t take(struct client *one) {
    static uint8_t came[READ_BYTES];
    uint64_t ended = 0;
    ssize_t count = recv(one->fd, came, sizeof came, MSG_DONTWAIT);
    if (count < 0 && errno == EAGAIN) return 0;
    if (count <= 0) fail("a client was cut off");
    for (ssize_t at = 0; at < count;) {
        size_t piece = back_bytes - one->place;
        if (piece > (size_t)(count - at)) piece = count - at;
        if (memcmp(came + at, back + one->place, piece)) fail("a message came back wrong");
        at += piece;
        one->place += piece;
        if (one->place == back_bytes) {
            one->place = 0;
            ended++;
        }
    }
    return ended;
}

int main(int argc, char **argv) {
    if (argc != 6) return fprintf(stderr, "usage: websocket_load PORT CLIENTS IN_FLIGHT BYTES SECONDS\n"), 2;
    int clients = atoi(argv[2]), in_flight = atoi(argv[3]), epoll = epoll_create1(0);
    double seconds = atof(argv[5]);
    compose(strtoul(argv[4], NULL, 10));
    struct client *all = calloc(clients, sizeof *all);
    for (int at = 0; at < clients; at++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = all + at};
        open_client(all + at, atoi(argv[1]));
        epoll_ctl(epoll, EPOLL_CTL_ADD, all[at].fd, &event);
    }
    struct epoll_event events[EVENTS];
    uint64_t messages = 0;
    double start = now(), end = start;
    for (int at = 0; at < clients; at++)
        for (int count = 0; count < in_flight; count++) say(all + at);
    for (; end - start < seconds; end = now()) {
        int ready = epoll_wait(epoll, events, EVENTS, 100);
        for (int at = 0; at < ready; at++) {
            struct client *one = events[at].data.ptr;
            uint64_t ended = take(one);
            messages += ended;
            while (ended--) say(one);
        }
    }
    printf("{\"requests\": %llu, \"seconds\": %.6f}\n", (unsigned long long)messages, end - start);
}
