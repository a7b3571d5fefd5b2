// Loops over several threads. Work is split into contiguous ranges; kernels write disjoint outputs and never add across
// ranges, so results do not depend on the number of threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <thread>
#include <vector>

namespace icd {

// The number of threads to use: `wanted`, or all processors for 0.
inline int thread_count(int wanted) {
    return wanted > 0 ? wanted : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

// Call body(begin, end) for ranges that cover 0..count, each of at least `least` items. The body must not throw.
template <class Body>
void parallel_for(int64_t count, int threads, int64_t least, const Body& body) {
    const int64_t ranges = std::clamp<int64_t>(count / std::max<int64_t>(least, 1), 1, std::max(threads, 1));
    std::vector<std::thread> workers;
    workers.reserve(ranges - 1);
    for (int64_t i = 1; i < ranges; ++i)
        workers.emplace_back([&body, i, count, ranges] { body(count * i / ranges, count * (i + 1) / ranges); });
    body(0, count / ranges);
    for (std::thread& worker : workers) worker.join();
}

}  // namespace icd
