// The CPU engine's front: picks the instruction set at run time and spreads a clip's pairs over threads.

#include "tvl1_cpu.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <string>
#include <thread>
#include <vector>

namespace {

typedef int SolvePairs(const uint8_t*, int, int, int, int, const kineflow_params*, float*, int64_t*);

}  // namespace

namespace kineflow {
SolvePairs solve_pairs_baseline;
#if defined(__x86_64__)
SolvePairs solve_pairs_avx2, solve_pairs_avx512;
#endif
}  // namespace kineflow

namespace {

struct Isa {
    const char* name;
    SolvePairs* solve_pairs;
    bool runs;
};

const std::vector<Isa>& isas() {
    static const std::vector<Isa> all = {
#if defined(__x86_64__)
        // all that the files are compiled for
        {"avx512", kineflow::solve_pairs_avx512,
         __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma")},
        {"avx2", kineflow::solve_pairs_avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")},
#endif
        {"baseline", kineflow::solve_pairs_baseline, true},
    };
    return all;
}

const Isa* find_isa(const char* name) {
    for (const Isa& isa : isas()) {
        if (isa.runs && (!name || !strcmp(name, isa.name))) return &isa;
    }
    return nullptr;
}

}  // namespace

const char* kineflow_isas(void) {
    static const std::string names = [] {
        std::string list;
        for (const Isa& isa : isas()) {
            if (isa.runs) list += (list.empty() ? "" : " ") + std::string(isa.name);
        }
        return list;
    }();
    return names.c_str();
}

int kineflow_tvl1(const uint8_t* frames, int count, int height, int width, const kineflow_params* params, int threads,
                  const char* isa_name, float* flow, int64_t* iterations) {
    const Isa* isa = find_isa(isa_name);
    if (!isa) return KINEFLOW_NO_ISA;
    // Neighbouring pairs go to one thread, since they share a frame.
    const int pairs = count - 1, workers = std::max(1, std::min(threads, pairs));
    std::vector<int> results(workers, KINEFLOW_OK);
    auto work = [&](int worker) {
        const int first = int(int64_t(pairs) * worker / workers), last = int(int64_t(pairs) * (worker + 1) / workers);
        results[worker] = isa->solve_pairs(frames, width, height, first, last, params, flow, iterations);
    };
    std::vector<std::thread> others;
    others.reserve(workers);
    try {
        for (int worker = 1; worker < workers; worker++) others.emplace_back(work, worker);
    } catch (const std::exception&) {
        // No more threads are to be had here: this one does what is left.
    }
    work(0);
    for (int worker = int(others.size()) + 1; worker < workers; worker++) work(worker);
    for (std::thread& thread : others) thread.join();
    return *std::max_element(results.begin(), results.end());
}
