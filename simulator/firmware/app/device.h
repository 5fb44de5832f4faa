/* The device itself, whatever runs below: its configuration, its panel, its client's memory, and what it tells. */
#ifndef FW_DEVICE_H
#define FW_DEVICE_H

#include "tilewire/tilewire.h"

#include "../board/panel.h"
#include "../net/ethernet.h"
#include "config.h"

typedef struct fw_device {
    fw_config config;
    fw_panel panel;
    tw_client_config client; /* but for nonce, boot id and resume */
    void *memory;            /* for the client */
    size_t memory_size;
    tw_client *(*of)(void); /* the client of now, or NULL */
    /* Of this connection. */
    unsigned is_resumed, is_whole;
} fw_device;

/* Reads the configuration, lights the panel, takes memory. What is wrong ends the machine with a sentence. */
void fw_device_start(fw_device *device);
/* Before each connection, and when it is over. */
void fw_device_connecting(fw_device *device);
void fw_device_left(unsigned code, int is_final, uint32_t wait_ms, const fw_device *device);
/* The controller that the configuration names; it is started. `wake`: see ethernet.h. */
const fw_ethernet *fw_device_ethernet(const fw_device *device, void (*wake)(void));

#endif
