// Greedy region merging (ICD, generate_superpixel, spec 5.3).
//
// While more than `limit` regions remain, the pair with the largest
//     sim(i, j) = cos(F_i, F_j) + 1 - (a_i + a_j) / area          (kept in float32; F features, a sizes in pixels)
// is merged; of equal pairs the first in row-major order. Region i < j takes the mean feature, weighted by size. Regions
// need not touch. A feature of length zero is like no other: its cosine is 0.
//
// The best partner of each row is kept, so a merge computes one row of similarities and searches again only rows whose best
// partner changed. Cost: O(R^2 C) once, then O(R C) a merge plus O(R) a row searched again; 4 R^2 bytes.
#include "region_merging.h"

#include <cmath>
#include <limits>
#include <vector>

#include "parallel.h"
#include "vectorize.h"

namespace icd {
namespace {

// Products are exact in double precision; eight partial sums, in the same order on every processor.
ICD_INLINE double dot_body(const float* a, const float* b, int64_t count) {
    Doubles4 even{}, odd{};
    Floats<4> x, y;
    int64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        load<4>(a + i, x);
        load<4>(b + i, y);
        even += __builtin_convertvector(x, Doubles4) * __builtin_convertvector(y, Doubles4);
        load<4>(a + i + 4, x);
        load<4>(b + i + 4, y);
        odd += __builtin_convertvector(x, Doubles4) * __builtin_convertvector(y, Doubles4);
    }
    double rest = 0.0;
    for (; i < count; ++i) rest += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    const Doubles4 sum = even + odd;
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + rest;
}

double dot_baseline(const float* a, const float* b, int64_t count) { return dot_body(a, b, count); }
ICD_AVX2 double dot_avx2(const float* a, const float* b, int64_t count) { return dot_body(a, b, count); }

class Merger {
  public:
    Merger(const float* features, const int64_t* sizes, int64_t regions, int64_t channels, double area, int threads)
        : regions_(regions), channels_(channels), area_(area), threads_(threads),
          features_(features, features + regions * channels), sizes_(sizes, sizes + regions), lengths_(regions),
          alive_(regions, true), parent_(regions), similarity_(regions * regions, nothing), best_(regions, 0) {
        for (int64_t i = 0; i < regions; ++i) {
            parent_[i] = i;
            lengths_[i] = std::sqrt(dot(i, i));
        }
        parallel_for(regions, threads, 32, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i)
                for (int64_t j = i + 1; j < regions_; ++j)
                    similarity_[i * regions_ + j] = similarity_[j * regions_ + i] = similarity(i, j);
        });
        parallel_for(regions, threads, 512, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) search(i);
        });
    }

    void merge_best_pair() {
        int64_t i = -1;
        float highest = nothing;
        for (int64_t row = 0; row < regions_; ++row) {
            if (!alive_[row]) continue;
            const float value = similarity_[row * regions_ + best_[row]];
            if (i < 0 || value > highest) {
                i = row;
                highest = value;
            }
        }
        absorb(i, best_[i]);
    }

    void number(int32_t* numbers) const {
        std::vector<int32_t> of_survivor(regions_);
        int32_t next = 0;
        for (int64_t i = 0; i < regions_; ++i)
            if (alive_[i]) of_survivor[i] = next++;
        for (int64_t i = 0; i < regions_; ++i) {
            int64_t survivor = i;
            while (parent_[survivor] != survivor) survivor = parent_[survivor];
            numbers[i] = of_survivor[survivor];
        }
    }

  private:
    static constexpr float nothing = -std::numeric_limits<float>::infinity();

    double dot(int64_t i, int64_t j) const {
        return dot_(features_.data() + i * channels_, features_.data() + j * channels_, channels_);
    }

    float similarity(int64_t i, int64_t j) const {
        const double lengths = lengths_[i] * lengths_[j];
        const double cosine = lengths > 0.0 ? dot(i, j) / lengths : 0.0;
        return static_cast<float>(cosine + 1.0 - static_cast<double>(sizes_[i] + sizes_[j]) / area_);
    }

    // The first of the largest entries of a row; dead regions hold -infinity.
    void search(int64_t row) {
        const float* entries = similarity_.data() + row * regions_;
        int64_t best = row == 0 ? 1 % regions_ : 0;
        for (int64_t j = 0; j < regions_; ++j)
            if (entries[j] > entries[best]) best = j;
        best_[row] = best;
    }

    void absorb(int64_t i, int64_t j) {
        const float total = static_cast<float>(sizes_[i] + sizes_[j]);
        const float of_i = static_cast<float>(sizes_[i]) / total, of_j = static_cast<float>(sizes_[j]) / total;
        for (int64_t c = 0; c < channels_; ++c) {
            float& feature = features_[i * channels_ + c];
            feature = feature * of_i + features_[j * channels_ + c] * of_j;
        }
        sizes_[i] += sizes_[j];
        lengths_[i] = std::sqrt(dot(i, i));
        alive_[j] = false;
        parent_[j] = i;
        parallel_for(regions_, threads_, 4096, [&](int64_t begin, int64_t end) {
            for (int64_t row = begin; row < end; ++row) {
                if (!alive_[row] || row == i) continue;
                float* entries = similarity_.data() + row * regions_;
                entries[j] = nothing;
                entries[i] = similarity_[i * regions_ + row] = similarity(i, row);
                const int64_t best = best_[row];
                if (best == i || best == j)
                    search(row);
                else if (entries[i] > entries[best] || (entries[i] == entries[best] && i < best))
                    best_[row] = i;
            }
        });
        similarity_[i * regions_ + j] = nothing;
        search(i);
    }

    double (*const dot_)(const float*, const float*, int64_t) = use_avx2() ? dot_avx2 : dot_baseline;
    int64_t regions_, channels_;
    double area_;
    int threads_;
    std::vector<float> features_;
    std::vector<int64_t> sizes_;
    std::vector<double> lengths_;
    std::vector<char> alive_;
    std::vector<int64_t> parent_;
    std::vector<float> similarity_;
    std::vector<int64_t> best_;
};

}  // namespace

int64_t merge_regions(const float* features, const int64_t* sizes, int64_t regions, int64_t channels, double area,
                      int64_t limit, int threads, int32_t* numbers) {
    if (regions <= limit) {
        for (int64_t i = 0; i < regions; ++i) numbers[i] = static_cast<int32_t>(i);
        return regions;
    }
    Merger merger(features, sizes, regions, channels, area, threads);
    for (int64_t left = regions; left > limit; --left) merger.merge_best_pair();
    merger.number(numbers);
    return limit;
}

}  // namespace icd
