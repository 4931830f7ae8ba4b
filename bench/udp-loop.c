/*
 * The yardstick of bench/udp.ts: a userspace tunnel as plain as it can be, one packet per system call. It waits in
 * poll(2), then moves packets with read + sendto and recv + write until nothing is left, one peer for everything.
 *
 *     udp-loop TUN LOCAL PEER PORT     in the namespace where both belong; the device is configured by the caller
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static unsigned char packet[65536];

static void fail(const char *what) {
	perror(what);
	exit(1);
}

static int open_tun(const char *name) {
	struct ifreq request;
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
	if (fd < 0) fail("/dev/net/tun");
	memset(&request, 0, sizeof request);
	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	request.ifr_flags = IFF_TUN | IFF_NO_PI;
	if (ioctl(fd, TUNSETIFF, &request) < 0 || ioctl(fd, TUNSETOFFLOAD, 0) < 0) fail("TUNSETIFF");
	return fd;
}

static struct sockaddr_in address_of(const char *text, const char *port) {
	struct sockaddr_in address;
	memset(&address, 0, sizeof address);
	address.sin_family = AF_INET;
	address.sin_port = htons(atoi(port));
	if (inet_pton(AF_INET, text, &address.sin_addr) != 1) fail(text);
	return address;
}

/* Decrements the TTL and updates the checksum (RFC 1141); 0 = the TTL has expired. */
static int decrement_ttl(unsigned char *ip) {
	unsigned sum;
	if (ip[8] <= 1) return 0;
	ip[8]--;
	sum = ((ip[10] << 8) | ip[11]) + 0x100;
	sum = (sum & 0xffff) + (sum >> 16);
	ip[10] = sum >> 8;
	ip[11] = sum;
	return 1;
}

static int tun_to_udp(int tun, int udp, const struct sockaddr_in *peer) {
	ssize_t length = read(tun, packet, sizeof packet);
	if (length < 0) return 0;
	if (length >= 20 && packet[0] >> 4 == 4 && decrement_ttl(packet))
		sendto(udp, packet, length, 0, (const struct sockaddr *)peer, sizeof *peer);
	return 1;
}

static int udp_to_tun(int tun, int udp) {
	ssize_t length = recv(udp, packet, sizeof packet, MSG_DONTWAIT);
	if (length < 0) return 0;
	if (length >= 20 && packet[0] >> 4 == 4 && decrement_ttl(packet) && write(tun, packet, length) < 0 && errno == EBADFD)
		exit(0);
	return 1;
}

int main(int count, char **values) {
	struct sockaddr_in local, peer;
	struct pollfd fds[2];
	int udp;
	if (count != 5) {
		fprintf(stderr, "usage: udp-loop TUN LOCAL PEER PORT\n");
		return 2;
	}
	local = address_of(values[2], values[4]);
	peer = address_of(values[3], values[4]);
	udp = socket(AF_INET, SOCK_DGRAM, 0);
	if (udp < 0 || bind(udp, (struct sockaddr *)&local, sizeof local) < 0) fail("bind");
	fds[0].fd = open_tun(values[1]);
	fds[1].fd = udp;
	fds[0].events = fds[1].events = POLLIN;
	puts("ready");
	fflush(stdout);
	for (;;) {
		int moved;
		if (poll(fds, 2, -1) < 0 && errno != EINTR) fail("poll");
		do {
			moved = tun_to_udp(fds[0].fd, udp, &peer);
			moved |= udp_to_tun(fds[0].fd, udp);
		} while (moved);
	}
}
