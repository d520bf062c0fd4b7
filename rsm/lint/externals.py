"""Names of the standard library and of well-known libraries that a handler must not touch, and under which rule."""

from __future__ import annotations

import functools
import sys
from typing import Final

from rsm.lint.values import UNICODE_METHODS

__all__ = ["FOREIGN_KNOWN", "rule_of"]

# A name stands for itself and for everything below it; with ".*" for what is below it alone. The longest one decides.
_TOUCHED: Final = {
    "RSM101": """
        time.time time.time_ns time.monotonic time.monotonic_ns time.perf_counter time.perf_counter_ns
        time.process_time time.process_time_ns time.thread_time time.thread_time_ns time.clock_gettime
        time.clock_gettime_ns time.sleep time.get_clock_info datetime.datetime.now datetime.datetime.utcnow
        datetime.datetime.today datetime.date.today timeit.* os.times sched.* pendulum.now arrow.now arrow.utcnow
        email.utils.formatdate email.utils.make_msgid""",
    "RSM102": """
        random.* secrets.* uuid.uuid1 uuid.uuid4 uuid.uuid6 uuid.uuid7 uuid.getnode os.urandom os.getrandom
        numpy.random.* ssl.RAND_bytes""",
    "RSM103": """
        os.environ os.environb os.getenv os.getenvb os.getpid os.getppid os.getlogin os.getuid os.geteuid
        os.getgid os.uname os.cpu_count os.process_cpu_count os.sched_getaffinity os.getcwd os.name os.sep
        os.linesep os.getloadavg os.get_terminal_size os.path.expanduser os.path.expandvars os.path.abspath
        os.devnull os.curdir os.pardir os.path.realpath platform.* sys.* sysconfig.* site.* inspect.* getpass.*
        pwd.* grp.* resource.* psutil.* socket.gethostname socket.getfqdn builtins.__file__ importlib.metadata.*
        importlib.resources.* pathlib.PurePath rsm.__version__ zlib.compress zlib.compressobj bz2.compress
        bz2.BZ2Compressor lzma.compress lzma.LZMACompressor gzip.compress""",
    "RSM104": """
        builtins.open builtins.input io.open io.open_code io.FileIO os.* os.path.exists os.path.isfile os.devnull
        os.curdir os.pardir os.path.isdir os.path.getsize os.path.getmtime pathlib.Path pathlib.PosixPath
        pathlib.WindowsPath subprocess.* socket.* ssl.* select.* selectors.* shutil.* tempfile.* glob.*
        fileinput.* sqlite3.* dbm.* urllib.request.* http.client.* http.server.* ftplib.* smtplib.* imaplib.*
        poplib.* socketserver.* xmlrpc.* webbrowser.* mmap.* fcntl.* requests.* httpx.* aiohttp.* urllib3.*
        psycopg.* psycopg2.* redis.* pymongo.* sqlalchemy.* boto3.* sys.stdin sys.stdout sys.stderr readline.*
        pty.* tty.* termios.* mimetypes.* linecache.* gzip.open gzip.GzipFile bz2.open lzma.open zipfile.*
        tarfile.*""",
    "RSM105": """
        builtins.print logging.* warnings.* structlog.* loguru.* syslog.* builtins.breakpoint pdb.* pprint.pprint""",
    "RSM106": """
        threading.* _thread.* asyncio.* concurrent.* multiprocessing.* signal.* contextvars.* queue.* trio.*
        anyio.* gevent.* os.fork os.forkpty atexit.*""",
    "RSM107": """
        builtins.eval builtins.exec builtins.compile builtins.__import__ importlib.* runpy.* ctypes.* cffi.*
        pickle.* cPickle.* marshal.* shelve.* dill.* cloudpickle.* joblib.* code.* codeop.* ast.*""",
    "RSM109": "builtins.__debug__",
    "RSM205": "builtins.id builtins.hash builtins.object.__hash__ operator.is_",
    "RSM206": "builtins.object.__repr__ builtins.object.__str__",
    "RSM207": "traceback.* sys.exc_info sys.exception sys.last_value",
    "RSM208": """
        gc.* weakref.* tracemalloc.* sys.getrefcount sys.getsizeof sys.getallocatedblocks sys.setswitchinterval""",
    "RSM209": "numpy.partition numpy.argpartition",
    "RSM301": "builtins.globals",
    "RSM303": "functools.cache functools.lru_cache functools.cached_property cachetools.*",
    "RSM402": """
        math.* cmath.* statistics.* builtins.float builtins.complex decimal.getcontext decimal.setcontext
        decimal.localcontext numpy.mean numpy.std numpy.var numpy.float64 numpy.float32 numpy.double numpy.float16
        numpy.sqrt numpy.cbrt numpy.exp numpy.exp2 numpy.expm1 numpy.log numpy.log2 numpy.log10 numpy.log1p numpy.sin
        numpy.cos numpy.tan numpy.arcsin numpy.arccos numpy.arctan numpy.arctan2 numpy.hypot numpy.divide
        numpy.true_divide numpy.average numpy.median numpy.percentile numpy.quantile numpy.linspace numpy.interp
        numpy.linalg.* numpy.fft.* operator.truediv operator.itruediv""",
    "RSM403": "numpy.int_ numpy.uint numpy.intp numpy.uintp numpy.intc numpy.long numpy.ulong numpy.longlong",
    "RSM404": "unicodedata.* string.capwords",
    "RSM405": """
        locale.* gettext.* time.strftime time.asctime time.ctime calendar.month_name calendar.month_abbr
        calendar.day_name calendar.day_abbr calendar.TextCalendar calendar.LocaleTextCalendar calendar.month
        calendar.calendar babel.*
        builtins.str.format.n""",
    "RSM406": """
        time.localtime time.mktime time.tzname time.timezone time.altzone time.daylight time.tzset
        datetime.date.fromtimestamp zoneinfo.* pytz.* dateutil.tz.* tzlocal.* email.utils.localtime""",
    # What is below a name above, and harmless.
    "": """
        os.devnull os.curdir os.pardir os.path os.devnull os.curdir os.pardir os.path.* os.fspath os.PathLike
        uuid.UUID importlib.abc.* inspect.Parameter sys.intern sys.maxunicode math.isqrt math.gcd math.lcm
        math.comb math.perm math.factorial math.floor math.ceil math.trunc math.prod math.sumprod ast.literal_eval
        queue.Empty queue.Full asyncio.QueueEmpty socket.timeout socket.error random.Random.* warnings.deprecated
        logging.Logger concurrent.futures.TimeoutError math.inf math.nan math.pi math.e math.tau
        statistics.StatisticsError subprocess.CalledProcessError os.error zoneinfo.ZoneInfoNotFoundError
        weakref.ReferenceType contextvars.Context threading.ThreadError requests.exceptions.*""",
}
_RULES: Final = {name: code for code, names in _TOUCHED.items() for name in names.split()} | {
    f"builtins.str.{name}": "RSM404" for name in UNICODE_METHODS
}
_BUILT_IN: Final = frozenset(sys.stdlib_module_names) | {"builtins", "rsm", "msgspec", "typing_extensions"}
# Libraries of which this linter knows what to say: calling them is judged here.
FOREIGN_KNOWN: Final = _BUILT_IN | {name.split(".")[0] for name in _RULES}


@functools.lru_cache(maxsize=4096)
def rule_of(dotted: str) -> str:
    """The code of the rule that a name breaks, or an empty text."""
    found = _RULES.get(dotted)
    if found is not None:
        return found
    while "." in dotted:
        dotted = dotted.rpartition(".")[0]
        found = _RULES.get(f"{dotted}.*")
        if found is None:
            found = _RULES.get(dotted)
        if found is not None:
            return found
    return ""
