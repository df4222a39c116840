/* The WebSocket origin: every message goes back as it came, unmasked, frame by frame and while it still comes. It knows
 * one key only (`websocket.py` says which), for no handshake differs from another. No CPU time of it is counted.
 *
 * websocket_origin PORT */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES 65536
#define EVENTS 256
#define OPCODE 0x0f
#define PING 0x9
#define PONG 0xa
#define MASKED 0x80

static const char SWITCHED[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                               "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

struct client {
    int fd;
    uint8_t ending;   /* bytes of the blank line after the head that have come; 4: it talks WebSocket */
    uint8_t had;      /* bytes of the frame's header */
    uint8_t header[14];
    uint8_t offset;   /* into the mask */
    uint64_t left;    /* of the frame's content */
};

static uint8_t came[READ_BYTES], answer[2 * READ_BYTES + sizeof SWITCHED];

static size_t header_bytes(const struct client *one) {
    uint8_t length = one->had < 2 ? 0 : one->header[1] & 0x7f;
    return 6 + (length == 126 ? 2 : length == 127 ? 8 : 0);
}

/* Takes a header that is whole; the header of the answer goes to `to`. Its length. */
static size_t begin(struct client *one, uint8_t *to) {
    size_t extended = header_bytes(one) - 6;
    one->left = extended ? 0 : one->header[1] & 0x7f;
    for (size_t at = 0; at < extended; at++) one->left = one->left << 8 | one->header[2 + at];
    one->offset = 0;
    memcpy(to, one->header, 2 + extended);
    if ((to[0] & OPCODE) == PING) to[0] ^= PING ^ PONG;
    to[1] &= 0x7f;
    return 2 + extended;
}

/* What `count` bytes that came are answered with, in `answer`. Its length; -1: nobody here talks so. */
static ssize_t answered(struct client *one, size_t count) {
    size_t at = 0, out = 0;
    while (at < count) {
        if (one->ending < 4) {
            uint8_t byte = came[at++];
            one->ending = byte == "\r\n\r\n"[one->ending] ? one->ending + 1 : byte == '\r';
            if (one->ending == 4) {
                memcpy(answer + out, SWITCHED, sizeof SWITCHED - 1);
                out += sizeof SWITCHED - 1;
            }
        } else if (one->left == 0) {
            one->header[one->had++] = came[at++];
            if (one->had == 2 && !(one->header[1] & MASKED)) return -1;
            if (one->had >= 2 && one->had == header_bytes(one)) {
                out += begin(one, answer + out);
                memcpy(one->header, one->header + one->had - 4, 4);  /* from here on it holds the mask */
                one->had = 0;
            }
        } else {
            size_t piece = count - at < one->left ? count - at : one->left;
            uint8_t mask[4];
            for (int byte = 0; byte < 4; byte++) mask[byte] = one->header[(one->offset + byte) & 3];
            for (size_t byte = 0; byte < piece; byte++) answer[out + byte] = came[at + byte] ^ mask[byte & 3];
            one->offset = (one->offset + piece) & 3;
            one->left -= piece;
            at += piece;
            out += piece;
        }
    }
    return out;
}

static int sent(int fd, const uint8_t *data, size_t count) {
    while (count) {
        ssize_t done = send(fd, data, count, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (done < 0 && errno == EAGAIN) {
            struct pollfd writable = {fd, POLLOUT, 0};
            if (poll(&writable, 1, 10000) != 1) return 0;
        } else if (done < 0) {
            return 0;
        } else {
            data += done;
            count -= done;
        }
    }
    return 1;
}

static void serve(struct client *one) {
    ssize_t count = recv(one->fd, came, sizeof came, MSG_DONTWAIT);
    if (count < 0 && errno == EAGAIN) return;
    ssize_t out = count > 0 ? answered(one, count) : -1;
    if (out < 0 || !sent(one->fd, answer, out)) {
        close(one->fd);
        free(one);
    }
}

int main(int argc, char **argv) {
    if (argc != 2) return fprintf(stderr, "usage: websocket_origin PORT\n"), 2;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int server = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), yes = 1, epoll = epoll_create1(0);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(server, (struct sockaddr *)&here, sizeof here) || listen(server, 4096)) return perror("listen"), 1;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[EVENTS];
    epoll_ctl(epoll, EPOLL_CTL_ADD, server, &event);
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int at = 0; at < count; at++) {
            if (events[at].data.ptr) {
                serve(events[at].data.ptr);
                continue;
            }
            int fd = accept4(server, NULL, NULL, SOCK_CLOEXEC);
            if (fd < 0) continue;
            struct client *one = calloc(1, sizeof *one);
            one->fd = fd;
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
            event.data.ptr = one;
            epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
        }
    }
}
