/*
 * Small UDP packets for bench/udp.ts, at a steady rate, and counted where they arrive.
 *
 *     udp-packets send ADDRESS PORT PER-SECOND MILLISECONDS     prints how many were sent
 *     udp-packets receive PORT                                  prints "ready", and with SIGTERM how many came
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PAYLOAD_BYTES 64
/* Packets leave in bursts of so long: what a timer of the kernel can keep to. */
#define BURST_NS 500000L

static volatile sig_atomic_t is_over;

static void end(int number) {
	(void)number;
	is_over = 1;
}

static long long now_ns(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int send_packets(const char *address, int port, long per_second, long milliseconds) {
	struct sockaddr_in peer = { .sin_family = AF_INET, .sin_port = htons(port) };
	char payload[PAYLOAD_BYTES] = { 0 };
	long long start = now_ns();
	long long sent = 0;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	inet_pton(AF_INET, address, &peer.sin_addr);
	if (fd < 0 || connect(fd, (struct sockaddr *)&peer, sizeof peer) < 0) return perror("connect"), 1;
	for (;;) {
		long long elapsed = now_ns() - start;
		struct timespec pause = { 0, BURST_NS };
		if (elapsed >= milliseconds * 1000000LL) break;
		for (; sent < elapsed / 1000 * per_second / 1000000; sent++) {
			if (send(fd, payload, sizeof payload, 0) < 0 && errno != ECONNREFUSED) return perror("send"), 1;
		}
		nanosleep(&pause, NULL);
	}
	printf("%lld\n", sent);
	return 0;
}

static int receive_packets(int port) {
	struct sockaddr_in local = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sigaction action = { .sa_handler = end };
	char packet[2048];
	int size = 16 << 20;
	long long count = 0;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	sigaction(SIGTERM, &action, NULL);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
	if (fd < 0 || bind(fd, (struct sockaddr *)&local, sizeof local) < 0) return perror("bind"), 1;
	puts("ready");
	fflush(stdout);
	while (!is_over)
		if (recv(fd, packet, sizeof packet, 0) == PAYLOAD_BYTES) count++;
	while (recv(fd, packet, sizeof packet, MSG_DONTWAIT) == PAYLOAD_BYTES) count++;
	printf("%lld\n", count);
	return 0;
}

int main(int count, char **values) {
	if (count == 6 && strcmp(values[1], "send") == 0)
		return send_packets(values[2], atoi(values[3]), atol(values[4]), atol(values[5]));
	if (count == 3 && strcmp(values[1], "receive") == 0) return receive_packets(atoi(values[2]));
	fprintf(stderr, "usage: udp-packets send ADDRESS PORT PER-SECOND MILLISECONDS | receive PORT\n");
	return 2;
}
