/* From what was asked of a cluster to its health: named findings, worst level first. Pure. */
#pragma once
#include <stddef.h>
#include "common/base/err.h"
#include "common/base/health.h"
#include "common/proto/query.pb-c.h"
#include "common/proto/service.pb-c.h"
#include "placement/cluster_map.h"
#include "tools/census.h"

enum { HEALTH_TEXT = 200, VIEW_MEMBERS_MAX = 16 };

/* What is NULL could not be had; the errors say why. */
struct cluster_facts {
    const Members *members; /* as the leader tells it, when there is one that answers */
    enum err members_error;
    enum err member_answers[VIEW_MEMBERS_MAX]; /* to us, in the order of members */
    const MapInfo *info;
    const struct cluster_map *map;
    enum err map_error;
    const Reports *reports;
    const StatusInfo *status;
    uint32_t stranded; /* slots that have to move and have nowhere to go */
};

struct health_finding {
    enum health_code code;
    char text[HEALTH_TEXT];
};
struct health {
    enum health_level level;
    struct health_finding findings[HEALTH_CODES];
    size_t count;
    struct census census;
    size_t voters, voters_answering;
};

void health_judge(const struct cluster_facts *facts, struct health *out);
/* The report on a disk that was heard last, or NULL. */
const DiskReport *facts_report(const struct cluster_facts *facts, uint32_t disk);
/* Whether its server says that it is not there. */
bool facts_absent(const struct cluster_facts *facts, uint32_t disk);
/* Metadata servers that may still be lost with a majority left; -1: there is none now. */
int health_tolerates(const struct health *h);
