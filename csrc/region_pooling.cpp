// Region pooling: the mean inside each region of a feature map that is up-sampled bilinearly, corners aligned, to a
// square frame of which the image fills the upper left part (ICD, generate_superpixel, spec 5.2).
//
// Up-sampling and mean are both linear, so the mean is a weighted sum of grid cells. One pass over the pixels of a region
// collects the weights of the few cells it touches, a second sums those cells' features: the up-sampled map never
// exists. Cost: O(pixels + cells touched * channels); weights and sums in double precision.
#include "region_pooling.h"

#include <algorithm>
#include <vector>

#include "parallel.h"

namespace icd {
namespace {

// Where the frame's lines lie on a grid axis: cell `low`, its successor `high`, and the weight of `high`.
struct Axis {
    std::vector<int64_t> low, high;
    std::vector<double> weight;

    Axis(int64_t pixels, int64_t cells, int64_t frame) : low(pixels), high(pixels), weight(pixels) {
        const double ratio = frame > 1 ? static_cast<double>(cells - 1) / static_cast<double>(frame - 1) : 0.0;
        for (int64_t i = 0; i < pixels; ++i) {
            const double place = ratio * static_cast<double>(i);
            low[i] = std::min(static_cast<int64_t>(place), cells - 1);
            high[i] = std::min(low[i] + 1, cells - 1);
            weight[i] = place - static_cast<double>(low[i]);
        }
    }
};

// The pixels of each region: region r owns pixels[start[r] .. start[r + 1]).
struct Members {
    std::vector<int64_t> start, pixels;

    Members(const int32_t* regions, int64_t count, int64_t region_count) : start(region_count + 1), pixels(count) {
        for (int64_t i = 0; i < count; ++i) ++start[regions[i] + 1];
        for (int64_t r = 0; r < region_count; ++r) start[r + 1] += start[r];
        std::vector<int64_t> next(start.begin(), start.end() - 1);
        for (int64_t i = 0; i < count; ++i) pixels[next[regions[i]]++] = i;
    }
};

}  // namespace

void pool_regions(const float* features, const int32_t* regions, const PoolingShape& shape, int threads, float* pooled) {
    const int64_t cells = shape.rows * shape.columns, channels = shape.channels;
    std::vector<float> by_cell(cells * channels);  // channels innermost
    for (int64_t c = 0; c < channels; ++c)
        for (int64_t cell = 0; cell < cells; ++cell) by_cell[cell * channels + c] = features[c * cells + cell];
    const Axis vertical(shape.height, shape.rows, shape.frame), horizontal(shape.width, shape.columns, shape.frame);
    const Members members(regions, shape.height * shape.width, shape.regions);

    parallel_for(shape.regions, threads, 16, [&](int64_t begin, int64_t end) {
        std::vector<double> weights(cells, 0.0), sum(channels);
        std::vector<int64_t> touched;
        const auto add = [&](int64_t cell, double weight) {
            if (weight == 0.0) return;
            if (weights[cell] == 0.0) touched.push_back(cell);
            weights[cell] += weight;
        };
        for (int64_t region = begin; region < end; ++region) {
            const int64_t first = members.start[region], last = members.start[region + 1];
            for (int64_t i = first; i < last; ++i) {
                const int64_t y = members.pixels[i] / shape.width, x = members.pixels[i] % shape.width;
                const int64_t top = vertical.low[y] * shape.columns, bottom = vertical.high[y] * shape.columns;
                const double v = vertical.weight[y], u = horizontal.weight[x];
                add(top + horizontal.low[x], (1 - v) * (1 - u));
                add(top + horizontal.high[x], (1 - v) * u);
                add(bottom + horizontal.low[x], v * (1 - u));
                add(bottom + horizontal.high[x], v * u);
            }
            std::fill(sum.begin(), sum.end(), 0.0);
            for (const int64_t cell : touched) {
                const double weight = weights[cell];
                const float* feature = by_cell.data() + cell * channels;
                for (int64_t c = 0; c < channels; ++c) sum[c] += weight * static_cast<double>(feature[c]);
                weights[cell] = 0.0;
            }
            touched.clear();
            const double size = static_cast<double>(last - first);
            for (int64_t c = 0; c < channels; ++c) pooled[region * channels + c] = static_cast<float>(sum[c] / size);
        }
    });
}

}  // namespace icd
