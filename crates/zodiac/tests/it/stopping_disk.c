/* A disk that stops: syncs wait while the file exists that DISK_STOPS_WHILE_THERE_IS names. */

#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int fdatasync(int file)
{
    const char *gate = getenv("DISK_STOPS_WHILE_THERE_IS");

    while (gate != NULL && access(gate, F_OK) == 0)
        usleep(5000);
    return (int)syscall(SYS_fdatasync, file);
}
