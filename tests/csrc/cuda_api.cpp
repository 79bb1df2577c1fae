// What CuPy calls of the CUDA runtime and driver, on memory of the host, with kernels that run on this CPU: see
// tests/preprocess/flow/cupy_on_cpu.py.
//
// It is as late as a GPU may be: what goes into a stream is done when somebody waits for it, and not before. Whoever
// forgets to wait, or changes memory that a copy has yet to read, gets wrong numbers each time instead of seldom.

#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace {

enum { kSuccess = 0, kInvalidValue = 1, kOutOfMemory = 2, kNotFound = 500, kNotReady = 600, kLaunchFailure = 719 };
enum { kClockRate = 13, kMultiProcessors = 16, kMajor = 75, kSharedOptin = 97 };  // cudaDeviceAttr
constexpr int kSharedLimit = 232448, kSharedWithoutAsking = 49152, kDynamicShared = 8;

constexpr int kDeviceMemory = 2;  // cudaMemoryType

struct PointerAttributes {  // cudaPointerAttributes
    int type, device;
    void *on_device, *on_host;
    long reserved[8];
};

struct Stream {
    bool blocks = true;  // waits for the stream 0, and that one for it
    std::deque<std::function<void()>> work;
    size_t added = 0, done = 0;
};

struct Event {
    std::shared_ptr<Stream> stream;
    size_t until = 0;
};

struct Kernel {
    std::string name;
    void* function;
    int shared;  // bytes that a block was allowed
};

std::recursive_mutex mutex;
#define LOCKED                                          \
    std::lock_guard<std::recursive_mutex> guard(mutex); \
    if (is_dead) return kLaunchFailure

bool is_dead = false;
long launches_left = -1;  // before the GPU is lost; none are counted when negative
size_t free_bytes = size_t{1} << 30;
size_t most_of_host = SIZE_MAX;  // bytes of one block of pinned memory
std::map<void*, size_t> device_memory;
std::map<uintptr_t, std::shared_ptr<Stream>> streams{{0, std::make_shared<Stream>()}};
void* kernels = nullptr;  // library of the emulated ones

void run(Stream& stream, size_t until) {
    while (stream.done < until) {
        std::function<void()> next = std::move(stream.work.front());
        stream.work.pop_front();
        next();
        ++stream.done;
    }
}

void run_all() {
    for (auto& [_, stream] : streams) run(*stream, stream->added);
}

void add(uintptr_t handle, std::function<void()> work) {
    Stream& stream = *streams.at(handle);
    std::vector<Event> before;
    for (auto& [other, found] : streams)
        if (stream.blocks && found->blocks && (handle == 0) != (other == 0)) before.push_back({found, found->added});
    stream.work.push_back([before, work] {
        for (const Event& event : before) run(*event.stream, event.until);
        work();
    });
    ++stream.added;
}

void* fresh(size_t size) {
    const size_t whole = (size + 4095) / 4096 * 4096 + 4096;
    return memset(aligned_alloc(4096, whole), 0xA5, whole);  // nobody may count on zeros
}

}  // namespace

extern "C" {

// For the tests.
void api_use_kernels(void* library) { kernels = library; }
void api_set_free_bytes(size_t size) { free_bytes = size; }
void api_set_most_of_host(size_t size) { most_of_host = size; }
void api_lose_gpu_after(long launches) { launches_left = launches; }
int api_unknown(const char* name) {
    fprintf(stderr, "cuda_api.cpp has no %s\n", name);
    abort();
}

// The runtime.
int api_cudaGetDeviceCount(int* count) { return *count = 1, kSuccess; }
int api_cudaGetDevice(int* device) { return *device = 0, kSuccess; }
int api_cudaSetDevice(int device) { return device ? kInvalidValue : kSuccess; }
int api_cudaDriverGetVersion(int* version) { return *version = 13000, kSuccess; }
int api_cudaGetLastError() { return is_dead ? kLaunchFailure : kSuccess; }
int api_cudaDeviceGetAttribute(int* value, int attribute, int) {
    static const std::map<int, int> known{
        {kMajor, 9}, {kSharedOptin, kSharedLimit}, {kMultiProcessors, 1}, {kClockRate, 1000000}};
    const auto found = known.find(attribute);
    return *value = found == known.end() ? 0 : found->second, kSuccess;
}

int api_cudaMemGetInfo(size_t* free, size_t* total) {
    LOCKED;
    return *free = *total = free_bytes, kSuccess;
}
int api_cudaMalloc(void** memory, size_t size) {
    LOCKED;
    if (size > free_bytes) return kOutOfMemory;
    free_bytes -= size;
    *memory = fresh(size);
    device_memory[*memory] = size;
    return kSuccess;
}
int api_cudaFree(void* memory) {
    LOCKED;
    if (!memory) return kSuccess;
    const auto found = device_memory.find(memory);
    if (found == device_memory.end()) return kInvalidValue;
    run_all();  // as the real one
    free_bytes += found->second;
    device_memory.erase(found);
    free(memory);
    return kSuccess;
}
int api_cudaHostAlloc(void** memory, size_t size, unsigned) {
    LOCKED;
    if (size > most_of_host) return kOutOfMemory;
    return *memory = fresh(size), kSuccess;
}
int api_cudaFreeHost(void* memory) {
    LOCKED;
    run_all();
    free(memory);
    return kSuccess;
}
int api_cudaMemcpyAsync(void* to, const void* from, size_t size, int, uintptr_t stream) {
    LOCKED;
    add(stream, [=] { memmove(to, from, size); });  // of memory that is not pinned too: nobody promises more
    return is_dead ? kLaunchFailure : kSuccess;
}
int api_cudaPointerGetAttributes(PointerAttributes* attributes, void* memory) {
    return *attributes = {kDeviceMemory, 0, memory, nullptr, {}}, kSuccess;
}
int api_cudaMemsetAsync(void* memory, int value, size_t size, uintptr_t stream) {
    LOCKED;
    add(stream, [=] { memset(memory, value, size); });
    return kSuccess;
}

int api_cudaStreamCreateWithPriority(uintptr_t* handle, unsigned flags, int) {
    LOCKED;
    static uintptr_t last = 1 << 16;
    auto stream = std::make_shared<Stream>();
    stream->blocks = flags == 0;
    streams[*handle = ++last] = stream;
    return kSuccess;
}
int api_cudaStreamDestroy(uintptr_t handle) {
    LOCKED;
    run(*streams.at(handle), streams.at(handle)->added);
    streams.erase(handle);
    return kSuccess;
}
int api_cudaStreamSynchronize(uintptr_t handle) {
    LOCKED;
    run(*streams.at(handle), streams.at(handle)->added);
    return is_dead ? kLaunchFailure : kSuccess;
}
int api_cudaDeviceSynchronize() {
    LOCKED;
    run_all();
    return is_dead ? kLaunchFailure : kSuccess;
}
int api_cudaEventCreateWithFlags(Event** event, unsigned) { return *event = new Event, kSuccess; }
int api_cudaEventDestroy(Event* event) { return delete event, kSuccess; }
int api_cudaEventRecord(Event* event, uintptr_t stream) {
    LOCKED;
    add(stream, [] {});  // so that it waits for what a stream waits for
    *event = {streams.at(stream), streams.at(stream)->added};
    return kSuccess;
}
int api_cudaEventSynchronize(Event* event) {
    LOCKED;
    if (event->stream) run(*event->stream, event->until);
    return is_dead ? kLaunchFailure : kSuccess;
}
int api_cudaEventQuery(Event* event) {
    LOCKED;
    return !event->stream || event->stream->done >= event->until ? kSuccess : kNotReady;
}
int api_cudaStreamIsCapturing(uintptr_t, int* status) { return *status = 0, kSuccess; }
int api_cudaStreamWaitEvent(uintptr_t stream, Event* event, unsigned) {
    LOCKED;
    const Event now = *event;
    if (now.stream) add(stream, [now] { run(*now.stream, now.until); });
    return kSuccess;
}

// The driver.
int cuGetErrorName(int, const char** text) { return *text = "CUDA_ERROR", kSuccess; }
int cuGetErrorString(int, const char** text) { return *text = "an error of the emulation", kSuccess; }
int cuCtxGetCurrent(uintptr_t* context) { return *context = 1, kSuccess; }
int cuModuleLoadData(uintptr_t* module, const char* image) {
    static uintptr_t last = 0;
    return memcmp(image, "\177ELF", 4) ? kInvalidValue : (*module = ++last, kSuccess);
}
int cuModuleUnload(uintptr_t) { return kSuccess; }
int cuModuleGetFunction(Kernel** kernel, uintptr_t, const char* name) {
    void* function = dlsym(kernels, name);
    if (!function) return fprintf(stderr, "no emulation of %s\n", name), kNotFound;
    *kernel = new Kernel{name, function, kSharedWithoutAsking};  // never given back, as CuPy does not
    return kSuccess;
}
int cuFuncGetAttribute(int* value, int attribute, Kernel* kernel) {
    return *value = attribute == kDynamicShared ? kernel->shared : 0, kSuccess;
}
int cuFuncSetAttribute(Kernel* kernel, int attribute, int value) {
    if (attribute != kDynamicShared || value > kSharedLimit) return kInvalidValue;
    return kernel->shared = value, kSuccess;
}
int cuLaunchKernel(Kernel* kernel, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                   unsigned block_y, unsigned block_z, unsigned shared, uintptr_t stream, void** arguments, void**) {
    LOCKED;
    const auto launch = reinterpret_cast<int (*)(void*, const unsigned*, const unsigned*, unsigned, const void*, int,
                                                 int)>(dlsym(kernels, "launch"));
    const auto size = reinterpret_cast<int (*)()>(dlsym(kernels, "size_of_batch"))();
    if (block_x * block_y * block_z > 1024 || grid_y > 65535 || grid_z > 65535) return kInvalidValue;
    if (!(grid_x && grid_y && grid_z) || shared > static_cast<unsigned>(kernel->shared)) return kInvalidValue;
    const std::string batch(static_cast<char*>(arguments[0]), size);
    const int number = *static_cast<int*>(arguments[1]), flags = *static_cast<int*>(arguments[2]);
    add(stream, [=] {
        const unsigned grid[] = {grid_x, grid_y, grid_z}, block[] = {block_x, block_y, block_z};
        if (launches_left == 0) is_dead = true;
        if (launches_left > 0) --launches_left;
        if (is_dead) return;
        if (const int outcome = launch(kernel->function, grid, block, shared, batch.data(), number, flags)) {
            fprintf(stderr, "%s ended with outcome %d, see cuda_on_cpu.py\n", kernel->name.c_str(), outcome);
            is_dead = true;
        }
    });
    return kSuccess;
}
}
