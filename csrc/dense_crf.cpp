// Fully connected CRF with Gaussian edge potentials (Kraehenbuehl & Koltun, NIPS 2011), written from the paper.
//
//     Q <- softmax(-U);  repeat: Q <- softmax(-U + sum over kernels k of w_k D_k^-1/2 K_k D_k^-1/2 Q)
//
// Potts compatibility, K filtered on the permutohedral lattice, D = K 1 (symmetric normalisation). Kernels: position / sxy,
// and (position / sxy, colour / srgb).
//
// Labels with the same unary at every pixel keep the same Q at every pixel, because Potts treats labels alike. One of them
// is carried along and counts as often as it occurs in the softmax's sum; this is exact.
//
// Cost: two lattices once; per iteration O(pixels * different labels). 8 bytes a pixel, kernel corner, plus 12 a pixel and
// different label.
#include "dense_crf.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "parallel.h"
#include "permutohedral.h"

namespace icd {
namespace {

constexpr int64_t least = 4096;
constexpr int block = 16;  // labels that are filtered together at most

// exp(x) for x <= 0 within 2 units in the last place; 0 below -64, lest the filter slow down on denormal numbers. A loop
// over it becomes vector code on every processor. x = n ln 2 + r; e^r by its series, enough for |r| <= ln(2) / 2.
inline float exp_of_negative(float value) {
    constexpr float to_binary = 1.44269504f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    constexpr float rounder = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer in the low bits
    constexpr float lowest = -64.0f;
    const float x = value < lowest ? lowest : value;
    const float shifted = x * to_binary + rounder;
    const float n = shifted - rounder;
    const float r = (x - n * ln2_high) - n * ln2_low;
    float series = 1.0f / 5040.0f;
    series = series * r + 1.0f / 720.0f;
    series = series * r + 1.0f / 120.0f;
    series = series * r + 1.0f / 24.0f;
    series = series * r + 1.0f / 6.0f;
    series = series * r + 0.5f;
    series = series * r + 1.0f;
    series = series * r + 1.0f;
    uint32_t bits, power;
    std::memcpy(&bits, &shifted, sizeof bits);
    std::memcpy(&power, &series, sizeof power);
    power += bits << 23;
    std::memcpy(&series, &power, sizeof series);
    return value < lowest ? 0.0f : series;
}

// The labels whose unaries differ, how often each occurs, and which of them stands for a label.
struct DistinctLabels {
    std::vector<int64_t> first;         // label number of each distinct unary
    std::vector<float> multiplicity;    // [lanes], 0 for padding
    std::vector<int64_t> lane_of_label;
    int64_t lanes;                      // distinct labels, padded to a number that the filter takes

    DistinctLabels(const float* unary, int64_t labels, int64_t pixels) : lane_of_label(labels) {
        for (int64_t label = 0; label < labels; ++label) {
            const float* own = unary + label * pixels;
            const auto same = [&](int64_t other) {
                return std::memcmp(own, unary + other * pixels, pixels * sizeof(float)) == 0;
            };
            const int64_t lane = std::find_if(first.begin(), first.end(), same) - first.begin();
            if (lane == static_cast<int64_t>(first.size())) {
                first.push_back(label);
                multiplicity.push_back(0.0f);
            }
            multiplicity[lane] += 1.0f;
            lane_of_label[label] = lane;
        }
        lanes = padded(static_cast<int64_t>(first.size()));
        multiplicity.resize(lanes, 0.0f);
    }

    static int64_t padded(int64_t count) {
        const int64_t rest = count % block;
        return count - rest + (rest == 0 ? 0 : rest <= 2 ? 2 : rest <= 4 ? 4 : rest <= 8 ? 8 : 16);
    }
};

class MeanField {
  public:
    MeanField(const float* unary, const CrfShape& shape, int threads)
        : pixels_(shape.height * shape.width), threads_(threads), labels_(unary, shape.labels, pixels_),
          energy_(pixels_ * labels_.lanes, padding), probability_(energy_.size()),
          blocks_((labels_.lanes + block - 1) / block) {
        const int64_t distinct = static_cast<int64_t>(labels_.first.size());
        parallel_for(pixels_, threads_, least, [&](int64_t begin, int64_t end) {
            for (int64_t lane = 0; lane < distinct; ++lane) {
                const float* plane = unary + labels_.first[lane] * pixels_;
                for (int64_t p = begin; p < end; ++p) energy_[p * labels_.lanes + lane] = -plane[p];
            }
            softmax(energy_.data() + begin * labels_.lanes, begin, end);
        });
    }

    void iterate(const Lattice& gaussian, const Lattice& bilateral, const CrfKernels& kernels) {
        for (size_t b = 0; b < blocks_.size(); ++b) {
            gaussian.spread(lanes_of_block(b, probability_.data()), blocks_[b].gaussian, scratch_, threads_);
            bilateral.spread(lanes_of_block(b, probability_.data()), blocks_[b].bilateral, scratch_, threads_);
        }
        parallel_for(pixels_, threads_, least, [&](int64_t begin, int64_t end) {
            constexpr int64_t piece = 256;  // pixels whose logits stay in the first cache
            std::vector<float> logits(piece * labels_.lanes);
            for (int64_t first = begin; first < end; first += piece) {
                const int64_t last = std::min(first + piece, end);
                std::copy_n(energy_.data() + first * labels_.lanes, (last - first) * labels_.lanes, logits.data());
                for (size_t b = 0; b < blocks_.size(); ++b) {
                    const PixelValues out = lanes_of_block(b, logits.data());
                    gaussian.collect(blocks_[b].gaussian, first, last, kernels.gaussian_compat, out);
                    bilateral.collect(blocks_[b].bilateral, first, last, kernels.bilateral_compat, out);
                }
                softmax(logits.data(), first, last);
            }
        });
    }

    void write(float* marginals) const {
        const int64_t labels = static_cast<int64_t>(labels_.lane_of_label.size());
        parallel_for(labels, threads_, 1 + least / pixels_, [&](int64_t begin, int64_t end) {
            for (int64_t label = begin; label < end; ++label) {
                const float* from = probability_.data() + labels_.lane_of_label[label];
                float* plane = marginals + label * pixels_;
                for (int64_t p = 0; p < pixels_; ++p) plane[p] = from[p * labels_.lanes];
            }
        });
    }

  private:
    static constexpr float padding = std::numeric_limits<float>::lowest();  // a lane must not exceed the true ones

    struct VertexValues {
        Buffer<float> gaussian, bilateral;
    };

    PixelValues lanes_of_block(size_t b, float* values) const {
        const int64_t lane = static_cast<int64_t>(b) * block;
        return {values + lane, labels_.lanes, static_cast<int>(std::min<int64_t>(block, labels_.lanes - lane))};
    }

    // Probabilities of the pixels begin..end; logits[0] belongs to `begin`.
    void softmax(const float* logits, int64_t begin, int64_t end) {
        switch (labels_.lanes) {
            case 2: return softmax_of<2>(logits, begin, end);
            case 4: return softmax_of<4>(logits, begin, end);
            case 8: return softmax_of<8>(logits, begin, end);
            case 16: return softmax_of<16>(logits, begin, end);
            default: return softmax_of<0>(logits, begin, end);
        }
    }

    // `fixed` lanes, known to the compiler, or any number of lanes for 0.
    template <int fixed>
    void softmax_of(const float* logit, int64_t begin, int64_t end) {
        const int64_t lanes = fixed ? fixed : labels_.lanes;
        const float* multiplicity = labels_.multiplicity.data();
        for (int64_t p = begin; p < end; ++p, logit += lanes) {
            float* out = probability_.data() + p * lanes;
            float highest = logit[0], sum = 0.0f;
            for (int64_t l = 1; l < lanes; ++l) highest = logit[l] > highest ? logit[l] : highest;
            for (int64_t l = 0; l < lanes; ++l) out[l] = exp_of_negative(logit[l] - highest);
            for (int64_t l = 0; l < lanes; ++l) sum += multiplicity[l] * out[l];
            const float factor = 1.0f / sum;
            for (int64_t l = 0; l < lanes; ++l) out[l] *= factor;
        }
    }

    int64_t pixels_;
    int threads_;
    DistinctLabels labels_;
    Buffer<float> energy_, probability_;  // [pixels][lanes]: -U and Q
    std::vector<VertexValues> blocks_;    // of each block of lanes
    Buffer<float> scratch_;
};

}  // namespace

void dense_crf(const uint8_t* rgb, const float* unary, const CrfShape& shape, const CrfKernels& kernels, int iterations,
               int threads, float* marginals) {
    MeanField field(unary, shape, threads);
    if (iterations > 0) {
        const auto [labels, height, width] = shape;
        const Lattice gaussian({height, width, kernels.gaussian_sxy, nullptr, 1.0f}, threads);
        const Lattice bilateral({height, width, kernels.bilateral_sxy, rgb, kernels.bilateral_srgb}, threads);
        for (int iteration = 0; iteration < iterations; ++iteration) field.iterate(gaussian, bilateral, kernels);
    }
    field.write(marginals);
}

}  // namespace icd
