! Views, collective and other accesses in Fortran, by each of MPI's three interfaces: compiled with -DMPIFH, -DUSEMPI or
! -DUSEMPIF08. The first argument is the name of the file. Says `fortran: N checks` at the end, or stops with what was wrong.
#if defined(USEMPIF08)
#define HANDLE(T) type(T)
#define STATUS type(MPI_Status)
#else
#define HANDLE(T) integer
#define STATUS integer, dimension(MPI_STATUS_SIZE)
#endif
program views
#if defined(USEMPIF08)
  use mpi_f08
#elif defined(USEMPI)
  use mpi
#endif
  implicit none
#if defined(MPIFH)
  include 'mpif.h'
#endif
  integer, parameter :: n = 5
  character(len=256) :: name
  HANDLE(MPI_File) :: file
  HANDLE(MPI_Datatype) :: filetype, column
  HANDLE(MPI_Request) :: request
  HANDLE(MPI_Info) :: info
  HANDLE(MPI_Errhandler) :: handler
  STATUS :: status
  integer :: rank, ranks, ierr, count, i, class, checks, amode
  integer :: numbers(n), back(n), text_length
  double precision :: matrix(n, n), other(n, n)
  integer(kind=MPI_OFFSET_KIND) :: offset, size
  character(len=MPI_MAX_ERROR_STRING) :: text
  character(len=16) :: datarep
  logical :: flag

  checks = 0
  call get_command_argument(1, name)
  call MPI_Init(ierr)
  call MPI_Comm_rank(MPI_COMM_WORLD, rank, ierr)
  call MPI_Comm_size(MPI_COMM_WORLD, ranks, ierr)

  ! The default handler returns: a program that goes on after an error must be able to.
  call MPI_File_open(MPI_COMM_WORLD, trim(name)//'.none', MPI_MODE_RDONLY, MPI_INFO_NULL, file, ierr)
  call MPI_Error_class(ierr, class, ierr)
  call check(class == MPI_ERR_NO_SUCH_FILE, 'a file that is not there')
  call MPI_Error_string(class, text, text_length, ierr)
  call check(text_length > 0, 'a text for the error')

  call MPI_Info_create(info, ierr)
  call MPI_Info_set(info, 'cb_buffer_size', '1048576', ierr)
  amode = MPI_MODE_CREATE + MPI_MODE_RDWR
  call MPI_File_open(MPI_COMM_WORLD, trim(name), amode, info, file, ierr)
  call check(ierr == MPI_SUCCESS, 'open')
  call MPI_Info_free(info, ierr)
  call MPI_File_get_errhandler(file, handler, ierr)
  call check(handler == MPI_ERRORS_RETURN, 'the default handler')

  ! Interleaved by a view: rank R has the numbers R, R + ranks and so on, behind a header of 16 bytes.
  call MPI_Type_vector(n, 1, ranks, MPI_INTEGER, filetype, ierr)
  call MPI_Type_commit(filetype, ierr)
  offset = 16 + 4 * rank
  call MPI_File_set_view(file, offset, MPI_INTEGER, filetype, 'native', MPI_INFO_NULL, ierr)
  call check(ierr == MPI_SUCCESS, 'set_view')
  call MPI_Type_free(filetype, ierr)
  numbers = [(1000 * rank + i, i = 1, n)]
  call MPI_File_write_all(file, numbers, n, MPI_INTEGER, status, ierr)
  call check(ierr == MPI_SUCCESS, 'write_all')
  call MPI_Get_count(status, MPI_INTEGER, count, ierr)
  call check(count == n, 'count of write_all')
  call MPI_File_get_position(file, offset, ierr)
  call check(offset == n, 'position after write_all')
  offset = 0
  call MPI_File_seek(file, offset, MPI_SEEK_SET, ierr)
  back = 0
  call MPI_File_read_all(file, back, n, MPI_INTEGER, status, ierr)
  call check(all(back == numbers), 'read_all')
  call MPI_File_get_view(file, offset, column, filetype, datarep, ierr)
  call check(offset == 16 + 4 * rank .and. trim(datarep) == 'native', 'get_view')

  ! The same bytes without a view.
  call MPI_File_sync(file, ierr)
  call MPI_Barrier(MPI_COMM_WORLD, ierr)
  offset = 0
  call MPI_File_set_view(file, offset, MPI_INTEGER, MPI_INTEGER, 'native', MPI_INFO_NULL, ierr)
  do i = 1, n
    offset = 4 + (i - 1) * ranks + mod(rank + 1, ranks)
    call MPI_File_read_at(file, offset, back(i), 1, MPI_INTEGER, status, ierr)
  end do
  call check(all(back == [(1000 * mod(rank + 1, ranks) + i, i = 1, n)]), 'read_at of what the next rank wrote')

  ! A column of a matrix, nonblocking, in two parts, and by the shared pointer.
  matrix = reshape([(dble(i + 100 * rank), i = 1, n * n)], [n, n])
  other = 0
  size = 4096 * (1 + rank)
  call MPI_Type_vector(n, 1, n, MPI_DOUBLE_PRECISION, column, ierr)
  call MPI_Type_commit(column, ierr)
  offset = 0
  call MPI_File_set_view(file, size, MPI_DOUBLE_PRECISION, MPI_DOUBLE_PRECISION, 'native', MPI_INFO_NULL, ierr)
  call MPI_File_iwrite_at(file, offset, matrix(2, 1), 1, column, request, ierr)
  call MPI_Wait(request, status, ierr)
  call check(ierr == MPI_SUCCESS, 'iwrite_at')
  call MPI_File_iread_at_all(file, offset, other(2, 1), 1, column, request, ierr)
  flag = .false.
  do while (.not. flag)
    call MPI_Test(request, flag, status, ierr)
  end do
  call check(all(other(2, :) == matrix(2, :)) .and. all(other(1, :) == 0), 'iread_at_all of a row')
  call MPI_File_write_at_all_begin(file, offset, matrix, n * n, MPI_DOUBLE_PRECISION, ierr)
  call MPI_File_write_at_all_end(file, matrix, status, ierr)
  call MPI_Get_count(status, MPI_DOUBLE_PRECISION, count, ierr)
  call check(count == n * n, 'write_at_all in two parts')
  call MPI_Type_free(column, ierr)
  offset = 65536
  call MPI_File_set_view(file, offset, MPI_INTEGER, MPI_INTEGER, 'external32', MPI_INFO_NULL, ierr)
  call MPI_File_write_ordered(file, numbers, n, MPI_INTEGER, MPI_STATUS_IGNORE, ierr)
  call check(ierr == MPI_SUCCESS, 'write_ordered, no status')
  call MPI_File_sync(file, ierr)
  call MPI_Barrier(MPI_COMM_WORLD, ierr)
  call MPI_File_sync(file, ierr)
  offset = n * mod(rank + 1, ranks)
  call MPI_File_read_at_all(file, offset, back, n, MPI_INTEGER, status, ierr)
  call check(all(back == [(1000 * mod(rank + 1, ranks) + i, i = 1, n)]), 'read_at_all of external32')
  call MPI_File_get_size(file, size, ierr)
  call check(size == 65536 + 4 * n * ranks, 'get_size')
  call MPI_File_set_atomicity(file, .true., ierr)
  call MPI_File_get_atomicity(file, flag, ierr)
  call check(flag, 'atomicity')
  call MPI_File_close(file, ierr)
  call check(file == MPI_FILE_NULL, 'close')
  call MPI_Barrier(MPI_COMM_WORLD, ierr)
  if (rank == 0) then
    call MPI_File_delete(trim(name), MPI_INFO_NULL, ierr)
    call check(ierr == MPI_SUCCESS, 'delete')
    print '(a, i0, a)', 'fortran: ', checks, ' checks'
  end if
  call MPI_Finalize(ierr)

contains

  subroutine check(holds, what)
    logical, intent(in) :: holds
    character(len=*), intent(in) :: what
    integer :: ignored
    checks = checks + 1
    if (.not. holds) then
      print '(a, i0, 2a)', 'fortran: rank ', rank, ': ', what
      call MPI_Abort(MPI_COMM_WORLD, 1, ignored)
    end if
  end subroutine check

end program views
