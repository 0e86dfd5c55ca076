// Degridding, gridding and both in one pass, and the steps around the FFTs.
//
// Compiled for one gridding kernel at a time: -DREAL=float|double, -DREAL2=float2|double2, -DSUPPORT=W and -DPOWERS,
// the number of coefficients of its polynomials. Arrays are those of UVPlan and UVGrid, in C order; `corner`
// (visibility,) is where the patch of each visibility begins on the flat grid, of `stride` cells a row: UVPlan's cells,
// each as often as it has visibilities.
//
// Visibilities are sorted by patch, and every warp takes an equal, consecutive share of them, of whatever patches they
// are. A warp to a patch would leave lanes idle where the uv plane is sparse, and one warp busy for all others where it
// is dense.
//
// Degridding: a thread to a visibility. The lanes of a warp read the same or neighbouring cells, which the L1 cache
// serves in a few transactions; no sum crosses lanes.
//
// Gridding: the sum over visibilities would cross lanes, so the work is turned round after half of it. First each lane
// evaluates the kernel of one visibility, into shared memory; then each lane owns a column and some rows of the patch,
// in registers, and adds all visibilities of the batch to them. The grid is touched only where the patch changes, by
// atomicAdd: the sums are done in the L2 cache while the warp goes on. (The CPU's scheme of blocks that never meet has
// 32 of them at a time, too few for more than a hundred multiprocessors.)

typedef REAL Real;
typedef REAL2 Complex;
typedef REAL2 Position;  // x chooses the taps of the patch's rows, y of its columns, both in [-1, 1)

constexpr int LANES = 32;
constexpr int WARPS = sizeof(Real) == 4 ? 4 : 2;          // of a block; their shared memory stays below 48 kB
constexpr int GROUPS = LANES / SUPPORT;                   // of lanes, one lane a column
constexpr int ROWS = (SUPPORT + GROUPS - 1) / GROUPS;     // of the patch that a lane owns: every GROUPS-th
constexpr int PITCH = (GROUPS * ROWS) | 1;                // odd, so that lanes write to different banks of memory
constexpr int UNROLLED = SUPPORT <= 8 ? SUPPORT : 1;      // rows read at once; wide ones would not fit in registers

// Highest power first. Every lane reads the same one at a time: constant memory feeds it to the multiply-add directly.
__constant__ Real coefficients[POWERS * SUPPORT];

struct Batch {
    Real along_rows[LANES][PITCH];
    Complex along_columns[LANES][PITCH];  // times the visibility
    int corner[LANES];
};

static __device__ __forceinline__ Real kernel_value(int tap, Real t)
{
    Real value = coefficients[tap];
#pragma unroll
    for (int power = 1; power < POWERS; ++power) value = value * t + coefficients[power * SUPPORT + tap];
    return value;
}

static __device__ __forceinline__ Complex row_sum(const Complex* __restrict__ row, const Real* along_columns)
{
    Complex sum = {0, 0};
#pragma unroll
    for (int column = 0; column < SUPPORT; ++column) {
        const Complex cell = row[column];
        sum.x += along_columns[column] * cell.x;
        sum.y += along_columns[column] * cell.y;
    }
    return sum;
}

static __device__ __forceinline__ void add(Complex* cell, Complex value)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    if constexpr (sizeof(Real) == 4) {  // both parts in one reduction
        atomicAdd(reinterpret_cast<float2*>(cell), float2{(float)value.x, (float)value.y});
        return;
    }
#endif
    atomicAdd(&cell->x, value.x);
    atomicAdd(&cell->y, value.y);
}

extern "C" __global__ void degrid(
    const Complex* __restrict__ grid, int stride, const int* __restrict__ corner, const Position* __restrict__ position,
    long long count, Complex* __restrict__ visibilities)
{
    const long long k = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (k >= count) return;
    const Position t = position[k];
    const Complex* patch = grid + corner[k];
    Real along_columns[SUPPORT];
#pragma unroll
    for (int tap = 0; tap < SUPPORT; ++tap) along_columns[tap] = kernel_value(tap, t.y);
    Complex total = {0, 0};
#pragma unroll UNROLLED
    for (int tap = 0; tap < SUPPORT; ++tap) {
        const Real along_row = kernel_value(tap, t.x);
        const Complex sum = row_sum(patch + tap * (long long)stride, along_columns);
        total.x += along_row * sum.x;
        total.y += along_row * sum.y;
    }
    visibilities[k] = total;
}

// Add the rows that a lane owns to the grid, and empty them.
static __device__ __forceinline__ void flush(
    Complex* patch, Complex* grid, int stride, int corner, int group, int column)
{
#pragma unroll
    for (int i = 0; i < ROWS; ++i) {
        const int row = group + i * GROUPS;
        if (row < SUPPORT) add(grid + corner + row * (long long)stride + column, patch[i]);
        patch[i] = {0, 0};
    }
}

// Grid a warp's share: `values` themselves, or weight * (model - values). Returns the lane's part of chi^2.
template <bool RESIDUAL>
static __device__ __forceinline__ double grid_share(
    const Complex* __restrict__ model, Complex* __restrict__ grid, int stride, const int* __restrict__ corner,
    const Position* __restrict__ position, long long count, int batches, const Complex* __restrict__ values,
    const Real* __restrict__ weight)
{
    __shared__ Batch batch_of_warp[WARPS];
    Batch& batch = batch_of_warp[threadIdx.x / LANES];
    const int lane = threadIdx.x % LANES, group = lane / SUPPORT, column = lane % SUPPORT;
    const long long share = batches * (long long)LANES;
    const long long begin = (blockIdx.x * (long long)WARPS + threadIdx.x / LANES) * share;
    const long long end = begin + share < count ? begin + share : count;
    Complex patch[ROWS] = {};
    int patch_corner = -1;
    double misfit = 0;
    for (long long first = begin; first < end; first += LANES) {
        const long long k = first + lane;
        if (k < end) {
            const Position t = position[k];
            batch.corner[lane] = corner[k];
            Real along_columns[SUPPORT];
#pragma unroll
            for (int tap = 0; tap < SUPPORT; ++tap) along_columns[tap] = kernel_value(tap, t.y);
            Complex value = values[k];
            Complex difference = {-value.x, -value.y};
#pragma unroll UNROLLED
            for (int tap = 0; tap < SUPPORT; ++tap) {
                const Real along_row = kernel_value(tap, t.x);
                batch.along_rows[lane][tap] = along_row;
                if (RESIDUAL) {
                    const Complex sum = row_sum(model + corner[k] + tap * (long long)stride, along_columns);
                    difference.x += along_row * sum.x;
                    difference.y += along_row * sum.y;
                }
            }
            for (int tap = SUPPORT; tap < GROUPS * ROWS; ++tap) batch.along_rows[lane][tap] = 0;
            if (RESIDUAL) {
                value = {weight[k] * difference.x, weight[k] * difference.y};
                misfit += value.x * difference.x + value.y * difference.y;
            }
#pragma unroll
            for (int tap = 0; tap < SUPPORT; ++tap)
                batch.along_columns[lane][tap] = {along_columns[tap] * value.x, along_columns[tap] * value.y};
        }
        __syncwarp();
        const int filled = end - first < LANES ? int(end - first) : LANES;
        if (group < GROUPS) {
            for (int j = 0; j < filled; ++j) {
                if (batch.corner[j] != patch_corner) {
                    if (patch_corner >= 0) flush(patch, grid, stride, patch_corner, group, column);
                    patch_corner = batch.corner[j];
                }
                const Complex along_column = batch.along_columns[j][column];
#pragma unroll
                for (int i = 0; i < ROWS; ++i) {
                    const Real along_row = batch.along_rows[j][group + i * GROUPS];
                    patch[i].x += along_row * along_column.x;
                    patch[i].y += along_row * along_column.y;
                }
            }
        }
        __syncwarp();
    }
    if (patch_corner >= 0) flush(patch, grid, stride, patch_corner, group, column);
    return misfit;
}

extern "C" __global__ void __launch_bounds__(WARPS * LANES) grid(
    Complex* grid, int stride, const int* corner, const Position* position, long long count, int batches,
    const Complex* visibilities)
{
    grid_share<false>(nullptr, grid, stride, corner, position, count, batches, visibilities, nullptr);
}

// `misfit` (warp,) holds every warp's part of chi^2.
extern "C" __global__ void __launch_bounds__(WARPS * LANES) gradient(
    const Complex* model, Complex* grid, int stride, const int* corner, const Position* position, long long count,
    int batches, const Complex* data, const Real* weight, double* misfit)
{
    double part = grid_share<true>(model, grid, stride, corner, position, count, batches, data, weight);
    for (int distance = LANES / 2; distance > 0; distance /= 2) part += __shfl_down_sync(~0u, part, distance);
    if (threadIdx.x % LANES == 0) misfit[blockIdx.x * WARPS + threadIdx.x / LANES] = part;
}

// The steps around the FFTs: blockIdx.y is the row of the result, a thread a column.

static __device__ __forceinline__ int modulo(int value, int period)
{
    const int remainder = value % period;
    return remainder < 0 ? remainder + period : remainder;
}

// The image, corrected for the kernel, with its centre in the first element and zeros around it.
extern "C" __global__ void pad(
    const Real* __restrict__ image, const Real* __restrict__ along_y, const Real* __restrict__ along_x, int ny, int nx,
    int height, int width, Real* __restrict__ padded)
{
    const int column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y;
    if (column >= width) return;
    const int y = (row + ny / 2) % height, x = (column + nx / 2) % width;
    const bool inside = y < ny && x < nx;
    padded[row * (long long)width + column] = inside ? image[y * (long long)nx + x] * along_y[y] * along_x[x] : Real(0);
}

// The adjoint of `pad`.
extern "C" __global__ void crop(
    const Real* __restrict__ padded, const Real* __restrict__ along_y, const Real* __restrict__ along_x, int ny, int nx,
    int height, int width, Real* __restrict__ image)
{
    const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y;
    if (x >= nx) return;
    const long long row = modulo(y - ny / 2, height), column = modulo(x - nx / 2, width);
    image[y * (long long)nx + x] = padded[row * width + column] * along_y[y] * along_x[x];
}

// From the half-plane spectrum of a real image, (height, width / 2 + 1), the cells of the uv grid.
extern "C" __global__ void cut_out(
    const Complex* __restrict__ spectrum, int height, int width, int row_of_zero, int margin, int columns,
    Complex* __restrict__ grid)
{
    const int column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y;
    if (column >= columns) return;
    const int v = modulo(row - row_of_zero, height), u = modulo(column - margin, width);
    const bool mirrored = u > width / 2;
    const long long source_row = mirrored ? (height - v) % height : v;
    Complex cell = spectrum[source_row * (width / 2 + 1) + (mirrored ? width - u : u)];
    if (mirrored) cell.y = -cell.y;
    grid[row * (long long)columns + column] = cell;
}

// The sum of the cells of the grid that are equal to (v, u) modulo the size of the FFT.
static __device__ __forceinline__ Complex periodic_sum(
    const Complex* __restrict__ grid, int v, int u, int height, int width, int row_of_zero, int margin, int rows,
    int columns)
{
    Complex sum = {0, 0};
    for (int row = modulo(v + row_of_zero, height); row < rows; row += height)
        for (int column = modulo(u + margin, width); column < columns; column += width) {
            const Complex cell = grid[row * (long long)columns + column];
            sum.x += cell.x;
            sum.y += cell.y;
        }
    return sum;
}

// The Hermitian part of the grid, whose inverse FFT is the real part of the grid's: the adjoint of `cut_out`.
extern "C" __global__ void fold(
    const Complex* __restrict__ grid, int height, int width, int row_of_zero, int margin, int rows, int columns,
    Complex* __restrict__ spectrum)
{
    const int u = blockIdx.x * blockDim.x + threadIdx.x, v = blockIdx.y;
    if (u > width / 2) return;
    const Complex cell = periodic_sum(grid, v, u, height, width, row_of_zero, margin, rows, columns);
    const Complex mirror = periodic_sum(grid, -v, -u, height, width, row_of_zero, margin, rows, columns);
    spectrum[v * (width / 2 + 1LL) + u] = {(cell.x + mirror.x) / 2, (cell.y - mirror.y) / 2};
}
