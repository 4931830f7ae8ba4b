/*
 * Strangers' handshake messages for bench/wireguard-handshakes.ts: those of a file, in turn, from many addresses of this
 * host, at a steady rate.
 *
 *     wireguard-flood FILE MESSAGE-BYTES TO PORT FIRST-ADDRESS ADDRESSES PER-SECOND MILLISECONDS     prints how many were sent
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#define MOST_ADDRESSES 1000
#define MOST_BYTES 1000000
/* Packets leave in bursts of so long: what a timer of the kernel can keep to. */
#define BURST_NS 500000L

static long long now_ns(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int main(int count, char **args) {
	static char messages[MOST_BYTES];
	int fds[MOST_ADDRESSES];
	struct sockaddr_in peer = { .sin_family = AF_INET }, own = { .sin_family = AF_INET };
	FILE *file = count == 9 ? fopen(args[1], "r") : NULL;
	if (file == NULL) return perror("wireguard-flood"), 1;
	long bytes = atol(args[2]), total = fread(messages, 1, MOST_BYTES, file) / bytes;
	int addresses = atoi(args[6]);
	long long per_second = atol(args[7]), end = atol(args[8]) * 1000000LL, start, sent = 0;
	if (total < 1 || addresses > MOST_ADDRESSES) return 1;
	peer.sin_port = htons(atoi(args[4]));
	inet_pton(AF_INET, args[3], &peer.sin_addr);
	inet_pton(AF_INET, args[5], &own.sin_addr);
	for (int index = 0; index < addresses; index++) {
		fds[index] = socket(AF_INET, SOCK_DGRAM, 0);
		if (bind(fds[index], (struct sockaddr *)&own, sizeof own) < 0) return perror("bind"), 1;
		if (connect(fds[index], (struct sockaddr *)&peer, sizeof peer) < 0) return perror("connect"), 1;
		own.sin_addr.s_addr = htonl(ntohl(own.sin_addr.s_addr) + 1);
	}
	start = now_ns();
	for (;;) {
		long long elapsed = now_ns() - start;
		struct timespec pause = { 0, BURST_NS };
		if (elapsed >= end) break;
		for (; sent < elapsed / 1000 * per_second / 1000000; sent++)
			send(fds[sent % addresses], messages + sent % total * bytes, bytes, 0);
		nanosleep(&pause, NULL);
	}
	printf("%lld\n", sent);
	return 0;
}
