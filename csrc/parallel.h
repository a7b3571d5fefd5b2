// Loops over several threads. Work is split into contiguous ranges; kernels write disjoint outputs and never add across
// ranges, so results do not depend on the number of threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

namespace icd {

// The number of threads to use: `wanted`, or all processors for 0.
inline int thread_count(int wanted) {
    return wanted > 0 ? wanted : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

// How many threads `count` items are worth, each having at least `least` of them.
inline int useful_threads(int64_t count, int threads, int64_t least) {
    return static_cast<int>(std::clamp<int64_t>(count / std::max<int64_t>(least, 1), 1, std::max(threads, 1)));
}

// Call body(begin, end) for ranges that cover 0..count, each of at least `least` items. What a body throws is thrown here.
template <class Body>
void parallel_for(int64_t count, int threads, int64_t least, const Body& body) {
    const int64_t ranges = useful_threads(count, threads, least);
    std::vector<std::exception_ptr> errors(ranges);
    const auto work = [&](int64_t i) {
        try {
            body(count * i / ranges, count * (i + 1) / ranges);
        } catch (...) {
            errors[i] = std::current_exception();
        }
    };
    std::vector<std::thread> workers;
    workers.reserve(ranges - 1);
    for (int64_t i = 1; i < ranges; ++i) workers.emplace_back(work, i);
    work(0);
    for (std::thread& worker : workers) worker.join();
    for (const std::exception_ptr& error : errors)
        if (error) std::rethrow_exception(error);
}

// Lets no thread pass before all have arrived.
class Barrier {
  public:
    explicit Barrier(int threads) : threads_(threads) {}
    void wait() {
        const int64_t round = round_.load();
        if (arrived_.fetch_add(1) + 1 == threads_) {
            arrived_.store(0);
            round_.fetch_add(1);
            return;
        }
        for (int spins = 0; round_.load() == round; ++spins)
            if (spins > 1000) std::this_thread::yield();
    }

  private:
    const int threads_;
    std::atomic<int> arrived_{0};
    std::atomic<int64_t> round_{0};
};

// One of several threads that go through the steps of a computation together.
class Member {
  public:
    Member(int64_t number, int64_t count, Barrier& barrier) : number_(number), count_(count), barrier_(barrier) {}

    // Call body(begin, end) for this thread's part of 0..items, then wait for the others.
    template <class Body>
    void share(int64_t items, const Body& body) const {
        body(items * number_ / count_, items * (number_ + 1) / count_);
        barrier_.wait();
    }

  private:
    int64_t number_, count_;
    Barrier& barrier_;
};

// Call body(member) on `threads` threads. The body must not throw: the others would wait for ever.
template <class Body>
void run_together(int threads, const Body& body) {
    Barrier barrier(threads);
    parallel_for(threads, threads, 1, [&](int64_t number, int64_t) { body(Member(number, threads, barrier)); });
}

}  // namespace icd
