/* A CUDA driver library without a GPU: what the launcher calls, remembered in place of done.

   Modules are real cubins. A launch reads its kernel's parameter sizes from the cubin's own description (the section
   .nv.info.NAME) and copies the arguments by them, so that a test sees what the kernel would have been given.
   gcc -shared -fPIC -o libcuda.so.1 stub.c */
#include <elf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PARAMETERS = 256, KERNEL_PARAMETER = 0x17, INVALID_VALUE = 1, NOT_FOUND = 500, BAD_IMAGE = 200 };

typedef struct { char name[512]; int count; uint16_t size[PARAMETERS]; unsigned dynamic_shared; } Function;
typedef struct {
    char name[512];
    uint32_t grid[3], block[3], shared;
    uint64_t stream;
    int count;
    uint64_t value[PARAMETERS];
    int attributes;
} Launch;

enum { HISTORY = 64 };
static Launch history[HISTORY];
static long launches, loads;
static int failing_code;
static char failing_name[64];

static int failed(const char *name) {
    if (!failing_code || strcmp(name, failing_name)) return 0;
    int code = failing_code;
    failing_code = 0;
    return code;
}

/* For tests. */
void stub_fail(const char *name, int code) { strncpy(failing_name, name, 63); failing_code = code; }
/* The launch so many before the last one. */
Launch *stub_launch(long back) { return &history[(launches - 1 - back) % HISTORY]; }
long stub_launches(void) { return launches; }
long stub_loads(void) { return loads; }

int cuInit(unsigned flags) { return 0; }
int cuDriverGetVersion(int *version) {
    const char *wanted = getenv("STUB_CUDA_VERSION");
    *version = wanted ? atoi(wanted) : 12090;
    return 0;
}
int cuDeviceGetCount(int *count) { *count = 2; return 0; }
int cuGetErrorName(int code, const char **text) { *text = code ? "CUDA_ERROR_OF_THE_STUB" : "CUDA_SUCCESS"; return 0; }
int cuGetErrorString(int code, const char **text) { *text = "an error that a test asked for"; return 0; }

int cuModuleLoadData(void **module, const void *image) {
    int code = failed("cuModuleLoadData");
    if (code) return code;
    if (memcmp(image, ELFMAG, SELFMAG)) return BAD_IMAGE;
    *module = (void *)image; /* the caller keeps the bytes for as long as the process lives */
    loads++;
    return 0;
}
int cuModuleUnload(void *module) { return 0; }

int cuModuleGetFunction(void **function, void *module, const char *name) {
    const char *image = module;
    const Elf64_Ehdr *head = module;
    const Elf64_Shdr *sections = (const void *)(image + head->e_shoff);
    const char *names = image + sections[head->e_shstrndx].sh_offset;
    char wanted[600];
    snprintf(wanted, sizeof wanted, ".nv.info.%s", name);
    for (int i = 0; i < head->e_shnum; i++) {
        if (strcmp(names + sections[i].sh_name, wanted)) continue;
        Function *made = calloc(1, sizeof *made);
        snprintf(made->name, sizeof made->name, "%s", name);
        const unsigned char *at = (const void *)(image + sections[i].sh_offset), *end = at + sections[i].sh_size;
        while (at + 4 <= end) { /* format, attribute, then a value of two bytes, or its length and the value */
            uint16_t length;
            memcpy(&length, at + 2, 2);
            if (at[0] == 4 && at[1] == KERNEL_PARAMETER && length == 12) {
                uint16_t ordinal;
                uint32_t packed;
                memcpy(&ordinal, at + 8, 2);
                memcpy(&packed, at + 12, 4);
                made->size[ordinal] = packed >> 18;
                if (ordinal >= made->count) made->count = ordinal + 1;
            }
            at += at[0] == 4 ? 4 + length : 4;
        }
        *function = made;
        return 0;
    }
    return NOT_FOUND;
}

int cuFuncSetAttribute(Function *f, int attribute, int value) {
    if (attribute == 8) f->dynamic_shared = value;
    return 0;
}
int cuFuncGetAttribute(int *value, int attribute, Function *f) { *value = attribute == 8 ? f->dynamic_shared : 0; return 0; }

int cuLaunchKernel(Function *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *stream, void **parameters, void **extra) {
    int code = failed("cuLaunchKernel");
    if (code) return code;
    if (shared > 49152 && shared > f->dynamic_shared) return INVALID_VALUE;
    Launch *made = &history[launches++ % HISTORY];
    strcpy(made->name, f->name);
    made->grid[0] = gx, made->grid[1] = gy, made->grid[2] = gz;
    made->block[0] = bx, made->block[1] = by, made->block[2] = bz;
    made->shared = shared, made->stream = (uintptr_t)stream, made->count = f->count;
    for (int i = 0; i < f->count; i++) {
        made->value[i] = 0;
        memcpy(&made->value[i], parameters[i], f->size[i]);
    }
    made->attributes = 0;
    return 0;
}

/* What else Triton's own launcher calls. */
typedef struct {
    unsigned grid[3], block[3], shared;
    void *stream, *attributes;
    unsigned count;
} Config;
int cuLaunchKernelEx(const Config *c, Function *f, void **parameters, void **extra) {
    int code = cuLaunchKernel(f, c->grid[0], c->grid[1], c->grid[2], c->block[0], c->block[1], c->block[2], c->shared,
                              c->stream, parameters, extra);
    if (!code) history[(launches - 1) % HISTORY].attributes = c->count;
    return code;
}
int cuCtxGetCurrent(void **context) { *context = (void *)1; return 0; }
int cuCtxSetCurrent(void *context) { return 0; }
int cuCtxGetDevice(int *device) { *device = 0; return 0; }
int cuCtxGetLimit(size_t *value, int limit) { *value = 0; return 0; }
int cuCtxSetLimit(int limit, size_t value) { return 0; }
int cuDeviceGet(int *device, int number) { *device = number; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { *value = 232448; return 0; }
int cuDevicePrimaryCtxRetain_v2(void **context, int device) { *context = (void *)1; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)1; return 0; }
int cuFuncSetCacheConfig(Function *f, int config) { return 0; }
int cuPointerGetAttribute(uint64_t *value, int attribute, uint64_t pointer) { *value = pointer; return 0; }
int cuStreamIsCapturing(void *stream, int *status) { *status = 0; return 0; }
int cuLaunchCooperativeKernel(void) { return INVALID_VALUE; }
