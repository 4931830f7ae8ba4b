/*
 * Short TCP connections, one after the other: policy-connects serve PORT, policy-connects ADDRESS PORT SECONDS.
 * The server closes each at once; the client prints how many it made, and its processor time in seconds. Resets leave no TIME_WAIT behind.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    char byte;

    if (argc == 3 && strcmp(argv[1], "serve") == 0) {
        int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
        address.sin_port = htons(atoi(argv[2]));
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(fd, (void *)&address, sizeof address) < 0 || listen(fd, 1024) < 0)
            return 1;
        printf("listening\n");
        fflush(stdout);
        for (;;) {
            int peer = accept(fd, NULL, NULL);
            if (peer >= 0 && write(peer, "x", 1) >= 0 && read(peer, &byte, 1) <= 0)
                close(peer);
        }
    }
    if (argc != 4)
        return 2;
    address.sin_port = htons(atoi(argv[2]));
    inet_pton(AF_INET, argv[1], &address.sin_addr);
    long count = 0;
    double end = now() + atof(argv[3]);
    while (now() < end) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        if (connect(fd, (void *)&address, sizeof address) == 0 && read(fd, &byte, 1) == 1)
            count++;
        close(fd);
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    printf("%ld %f\n", count, cpu);
    return 0;
}
