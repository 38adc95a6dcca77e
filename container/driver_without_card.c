/* A libcuda.so.1 as of a machine with a driver and no card: what libmxnet.so links and what the CUDA
   runtime asks first. Lets the GPU image be tried where there is neither. */
enum { CUDA_SUCCESS = 0, CUDA_ERROR_NO_DEVICE = 100, CUDA_ERROR_NOT_FOUND = 500 };

int cuDriverGetVersion(int *version) {
    *version = 11040;
    return CUDA_SUCCESS;
}

/* Whatever is asked for by name is one of the functions below, if it is here at all. */
int cuGetProcAddress(const char *symbol, void **function, int version, unsigned long long flags) {
    (void)symbol, (void)version, (void)flags;
    *function = 0;
    return CUDA_ERROR_NOT_FOUND;
}

#define NO_DEVICE(name) \
    int name(void) { return CUDA_ERROR_NO_DEVICE; }

NO_DEVICE(cuInit)
NO_DEVICE(cuDeviceGet)
NO_DEVICE(cuDeviceGetCount)
NO_DEVICE(cuDevicePrimaryCtxRetain)
NO_DEVICE(cuGetErrorString)
NO_DEVICE(cuGraphKernelNodeGetParams)
NO_DEVICE(cuGraphNodeGetType)
NO_DEVICE(cuLaunchKernel)
NO_DEVICE(cuModuleGetFunction)
NO_DEVICE(cuModuleLoadData)
NO_DEVICE(cuModuleLoadDataEx)
NO_DEVICE(cuModuleUnload)
