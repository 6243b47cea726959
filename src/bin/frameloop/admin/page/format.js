// Numbers as text: three digits, and the unit that fits.

const digits = (number) => Number(number.toPrecision(3)).toLocaleString("en", { maximumSignificantDigits: 3 });

function withUnit(number, units) {
    const [factor, name] = units.findLast(([factor]) => Math.abs(number) >= 0.9995 * factor) ?? units[0];
    return digits(number / factor) + name;
}

const MISSING = "-";
const NARROW_SPACE = "\u202f";
const RATE_UNITS = [[1, ""], [1e3, "k"], [1e6, "M"], [1e9, "G"]];
const BYTE_UNITS = [[1, " B"], [1024, " KiB"], [1024 ** 2, " MiB"], [1024 ** 3, " GiB"], [1024 ** 4, " TiB"]];
const TIME_UNITS = [[1e-9, " ns"], [1e-6, " µs"], [1e-3, " ms"], [1, " s"]];

const count = (number) => number == null ? MISSING : Math.round(number).toLocaleString("en");
const rate = (number) => number == null ? MISSING : Math.abs(number) < 1e4 ? digits(number) : withUnit(number, RATE_UNITS);
const bytes = (number) => number == null ? MISSING : withUnit(number, BYTE_UNITS);

/** A latency in seconds. */
function latency(seconds) {
    if (seconds == null) { return MISSING; }
    return seconds === 0 ? "0 s" : withUnit(seconds, TIME_UNITS);
}

/** A time span in seconds: 12.5 s, 3 min 20 s, 2 h 5 min, 4 d 3 h. */
function duration(seconds) {
    if (seconds == null) { return MISSING; }
    if (seconds < 119.95) { return `${seconds.toFixed(1)} s`; }
    const minutes = Math.floor(seconds / 60);
    if (minutes < 60) { return `${minutes} min ${Math.floor(seconds % 60)} s`; }
    const hours = Math.floor(minutes / 60);
    return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** A time on the process's clock. */
const clock = (at) => `${at.toFixed(3)} s`;
