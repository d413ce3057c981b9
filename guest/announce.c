/* SPDX-License-Identifier: Apache-2.0 */
/* Frames that tell switches and neighbours where an address is now. Whole frames on a packet
 * socket: the kernel sends them by itself only when an interface comes up or changes. */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <string.h>
#include <sys/socket.h>

#include "guest/network.h"

/* RFC 826 behind an Ethernet header. */
typedef struct __attribute__((packed)) ArpFrame {
        uint8_t to[6], from[6];
        uint16_t type;
        uint16_t hardware, protocol;
        uint8_t hardware_size, protocol_size;
        uint16_t operation;
        uint8_t sender_mac[6], sender[4], target_mac[6], target[4];
} ArpFrame;

/* RFC 4861, 4.4, with the option "target link-layer address". */
typedef struct __attribute__((packed)) NaFrame {
        uint8_t to[6], from[6];
        uint16_t type;
        uint32_t version;
        uint16_t payload;
        uint8_t next, hops;
        uint8_t source[16], destination[16];
        uint8_t icmp_type, icmp_code;
        uint16_t checksum;
        uint32_t flags;
        uint8_t target[16];
        uint8_t option, option_length, mac[6];
} NaFrame;

enum {
        ICMPV6 = 58,
        NEIGHBOUR_ADVERTISEMENT = 136,
        TARGET_LINK_ADDRESS = 2,
        NA_PAYLOAD = 32,
};
#define NA_OVERRIDE 0x20000000U

static const uint8_t everybody[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
static const uint8_t all_nodes_mac[6] = { 0x33, 0x33, 0, 0, 0, 1 };
static const uint8_t all_nodes[16] = { 0xff, 0x02, [15] = 1 };

static ArpFrame arp_frame(const uint8_t *mac, const uint8_t *address) {
        ArpFrame f = { .type = htons(ETHERTYPE_ARP),
                       .hardware = htons(1),
                       .protocol = htons(ETHERTYPE_IP),
                       .hardware_size = 6,
                       .protocol_size = 4,
                       .operation = htons(1) };

        memcpy(f.to, everybody, sizeof(f.to));
        memcpy(f.from, mac, sizeof(f.from));
        memcpy(f.sender_mac, mac, sizeof(f.sender_mac));
        memcpy(f.sender, address, sizeof(f.sender));
        memcpy(f.target, address, sizeof(f.target));
        return f;
}

/* Over the pseudo header (RFC 8200, 8.1) and the message. */
static uint16_t na_checksum(const NaFrame *f) {
        const uint8_t *parts[] = { f->source, f->destination, &f->icmp_type };
        const size_t sizes[] = { 16, 16, NA_PAYLOAD };
        uint32_t sum = NA_PAYLOAD + ICMPV6;

        for (size_t i = 0; i < 3; i++)
                for (size_t k = 0; k < sizes[i]; k += 2)
                        sum += (uint32_t)parts[i][k] << 8 | parts[i][k + 1];
        while (sum >> 16)
                sum = (sum & 0xffff) + (sum >> 16);
        return htons((uint16_t)~sum);
}

static NaFrame na_frame(const uint8_t *mac, const uint8_t *address) {
        NaFrame f = { .type = htons(ETHERTYPE_IPV6),
                      .version = htonl(6U << 28),
                      .payload = htons(NA_PAYLOAD),
                      .next = ICMPV6,
                      .hops = 255,
                      .icmp_type = NEIGHBOUR_ADVERTISEMENT,
                      .flags = htonl(NA_OVERRIDE),
                      .option = TARGET_LINK_ADDRESS,
                      .option_length = 1 };

        memcpy(f.to, all_nodes_mac, sizeof(f.to));
        memcpy(f.from, mac, sizeof(f.from));
        memcpy(f.source, address, sizeof(f.source));
        memcpy(f.destination, all_nodes, sizeof(f.destination));
        memcpy(f.target, address, sizeof(f.target));
        memcpy(f.mac, mac, sizeof(f.mac));
        f.checksum = na_checksum(&f);
        return f;
}

static int send_frame(int fd, int index, const void *frame, size_t n) {
        struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = index };

        return sendto(fd, frame, n, 0, (struct sockaddr *)&to, sizeof(to)) < 0 ? -errno : 0;
}

int announce_interface(int index, const NetInterface *i, Error *reterr) {
        _cleanup_close_ int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
        int r = 0;

        if (fd < 0)
                return error_setf(reterr, -errno, "no packet socket: %m");
        for (size_t k = 0; r == 0 && k < i->n_addresses; k++) {
                const ProtobufCBinaryData *a = &i->addresses[k]->address;

                if (a->len == 4) {
                        ArpFrame f = arp_frame(i->mac.data, a->data);

                        r = send_frame(fd, index, &f, sizeof(f));
                } else {
                        NaFrame f = na_frame(i->mac.data, a->data);

                        r = send_frame(fd, index, &f, sizeof(f));
                }
        }
        return r < 0 ? error_setf(reterr, r, "announce %.16s: %s", i->name, strerror(-r)) : 0;
}
