/* A GPU driver's NVML with no GPU behind it: it answers what the file named by FAKE_NVML says at each call.

   Lines of that file:
     init RETURN            what nvmlInit returns (0: success)
     gpu UUID RETURN MIG ECC_ERRORS RETIRED_PENDING REMAP_FAILED RECOVERY_ACTION
                            one GPU, an A100; RETURN is what asking for its handle returns
     xid UUID CODE          the event that nvmlEventSetWait gives, once for each such line
   Structures and codes are those of NVIDIA's NVML API reference. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, TIMEOUT = 10, MAX_GPUS = 16, XID_EVENT = 8, RECOVERY_FIELD = 230 };

struct gpu {
    char uuid[96];
    int result, mig, ecc_errors, retired_pending, remap_failed, recovery_action;
};
struct memory { unsigned version; unsigned long long total, reserved, free, used; };
struct field {
    unsigned id, scope;
    long long timestamp, latency_us;
    int type, result;
    union { unsigned number; unsigned long long wide; } value;
};
struct event { void *device; unsigned long long type, data; unsigned gpu_instance, compute_instance; };

static struct gpu gpus[MAX_GPUS];
static int gpu_count, init_result, xids_given;

static FILE *state(void) {
    const char *path = getenv("FAKE_NVML");
    return path ? fopen(path, "r") : NULL;
}

static void look(void) {
    char line[256];
    FILE *file = state();
    gpu_count = init_result = 0;
    while (file && fgets(line, sizeof line, file)) {
        struct gpu *gpu = &gpus[gpu_count];
        if (sscanf(line, "gpu %95s %d %d %d %d %d %d", gpu->uuid, &gpu->result, &gpu->mig, &gpu->ecc_errors,
                   &gpu->retired_pending, &gpu->remap_failed, &gpu->recovery_action) == 7)
            gpu_count++;
        else
            sscanf(line, "init %d", &init_result);
    }
    if (file) fclose(file);
}

static void *handle_of(const char *uuid) {
    for (int i = 0; i < gpu_count; i++)
        if (strcmp(gpus[i].uuid, uuid) == 0) return &gpus[i];
    return NULL;
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; look(); return init_result; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int result) { (void)result; return "an error of the fake driver"; }

int nvmlSystemGetDriverVersion(char *text, unsigned length) {
    snprintf(text, length, "615.71.05");
    return SUCCESS;
}
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 13010; return SUCCESS; }

int nvmlDeviceGetCount_v2(unsigned *count) { look(); *count = gpu_count; return SUCCESS; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    *device = &gpus[index];
    return gpus[index].result;
}
int nvmlDeviceGetUUID(struct gpu *device, char *text, unsigned length) {
    if (!device) return 15;
    snprintf(text, length, "%s", device->uuid);
    return SUCCESS;
}
int nvmlDeviceGetName(struct gpu *device, char *text, unsigned length) {
    (void)device;
    snprintf(text, length, "NVIDIA A100-SXM4-40GB");
    return SUCCESS;
}
int nvmlDeviceGetMemoryInfo_v2(struct gpu *device, struct memory *memory) {
    (void)device;
    memory->total = 40ULL << 30;
    memory->reserved = 1ULL << 30;
    return SUCCESS;
}
int nvmlDeviceGetMigMode(struct gpu *device, unsigned *current, unsigned *pending) {
    *current = *pending = device->mig;
    return SUCCESS;
}
int nvmlDeviceGetNumGpuCores(struct gpu *device, unsigned *cores) {
    *cores = 6912;
    return device->mig ? NOT_SUPPORTED : SUCCESS;
}
int nvmlDeviceGetCudaComputeCapability(struct gpu *device, int *major, int *minor) {
    (void)device;
    *major = 8;
    *minor = 0;
    return SUCCESS;
}

/* -1: this GPU has no ECC. */
int nvmlDeviceGetTotalEccErrors(struct gpu *device, int type, int counter, unsigned long long *errors) {
    (void)type, (void)counter;
    *errors = device->ecc_errors;
    return device->ecc_errors < 0 ? NOT_SUPPORTED : SUCCESS;
}
int nvmlDeviceGetRetiredPagesPendingStatus(struct gpu *device, unsigned *pending) {
    *pending = device->retired_pending;
    return SUCCESS;
}
/* Below 0: minus the error that it returns. */
int nvmlDeviceGetRemappedRows(struct gpu *device, unsigned *corrected, unsigned *uncorrected, unsigned *pending,
                              unsigned *failed) {
    *corrected = *uncorrected = *pending = 0;
    *failed = device->remap_failed > 0;
    return device->remap_failed < 0 ? -device->remap_failed : SUCCESS;
}
/* -1: a driver that does not know the field. */
int nvmlDeviceGetFieldValues(struct gpu *device, int count, struct field *fields) {
    for (int i = 0; i < count; i++) {
        fields[i].result = fields[i].id != RECOVERY_FIELD || device->recovery_action < 0 ? NOT_SUPPORTED : SUCCESS;
        fields[i].value.number = device->recovery_action;
    }
    return SUCCESS;
}

int nvmlEventSetCreate(void **set) { *set = gpus; return SUCCESS; }
int nvmlEventSetFree(void *set) { (void)set; return SUCCESS; }
int nvmlDeviceRegisterEvents(struct gpu *device, unsigned long long types, void *set) {
    (void)device, (void)set;
    return types == XID_EVENT ? SUCCESS : NOT_SUPPORTED;
}
int nvmlEventSetWait_v2(void *set, struct event *event, unsigned timeout_ms) {
    char line[256], uuid[96];
    int code, seen = 0, result = TIMEOUT;
    FILE *file = state();
    (void)set, (void)timeout_ms;
    while (result == TIMEOUT && file && fgets(line, sizeof line, file))
        if (sscanf(line, "xid %95s %d", uuid, &code) == 2 && seen++ == xids_given) {
            xids_given++;
            *event = (struct event){handle_of(uuid), XID_EVENT, code, ~0U, ~0U};
            result = SUCCESS;
        }
    if (file) fclose(file);
    return result;
}
