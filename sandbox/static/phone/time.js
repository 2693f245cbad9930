// Times as WeChat writes them. Everybody in the sandbox lives in Shanghai.

const ZONE = "Asia/Shanghai";
const format = (options) => new Intl.DateTimeFormat("zh-CN", { timeZone: ZONE, hourCycle: "h23", ...options });
const HOUR_MINUTE = format({ hour: "2-digit", minute: "2-digit" });
const HOUR_MINUTE_SECOND = format({ hour: "2-digit", minute: "2-digit", second: "2-digit" });
const WEEKDAY = format({ weekday: "long" });
const MONTH_DAY = format({ month: "long", day: "numeric" });
const FULL_DATE = format({ year: "numeric", month: "long", day: "numeric" });
const DATE_WEEKDAY = format({ year: "numeric", month: "long", day: "numeric", weekday: "long" });
const DAY_MS = 86_400_000;

/** A moment as the control paths write it: ISO text, or seconds since 1970. */
export function moment(value) {
  if (value === null || value === undefined || value === "") return null;
  const seconds = typeof value === "number" ? value : /^\d+(\.\d+)?$/.test(value) ? Number(value) : null;
  const date = seconds === null ? new Date(value) : new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? null : date;
}

const dayNumber = (date) => Math.floor((date.getTime() + 8 * 3_600_000) / DAY_MS);

export const hourMinute = (date) => HOUR_MINUTE.format(date);
export const hourMinuteSecond = (date) => HOUR_MINUTE_SECOND.format(date);
export const dateAndWeekday = (date) => DATE_WEEKDAY.format(date);

/** "10:24", "昨天 10:24", "星期三 10:24", "3月5日 10:24", "2025年3月5日 10:24". */
export function chatTime(date, now) {
  const days = dayNumber(now) - dayNumber(date);
  const clock = HOUR_MINUTE.format(date);
  if (days === 0) return clock;
  if (days === 1) return `昨天 ${clock}`;
  if (days > 1 && days < 7) return `${WEEKDAY.format(date)} ${clock}`;
  return `${shortDate(date, now)} ${clock}`;
}

/** The time beside a conversation in a list: today's clock, else the day. */
export function listTime(date, now) {
  const days = dayNumber(now) - dayNumber(date);
  if (days === 0) return HOUR_MINUTE.format(date);
  return days === 1 ? "昨天" : shortDate(date, now);
}

function shortDate(date, now) {
  const year = (moment) => format({ year: "numeric" }).format(moment);
  return year(date) === year(now) ? MONTH_DAY.format(date) : FULL_DATE.format(date);
}

/** "1 天 2 小时 3 分": at most the two largest units. */
export function duration(seconds) {
  const whole = Math.round(Math.abs(seconds));
  const units = [["天", 86_400], ["小时", 3600], ["分", 60], ["秒", 1]];
  const words = [];
  let rest = whole;
  for (const [word, size] of units) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0) words.push(`${count} ${word}`);
    if (words.length === 2) break;
  }
  return words.join(" ") || "0 秒";
}
