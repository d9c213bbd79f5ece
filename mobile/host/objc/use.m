// A program in Objective-C against the generated header: mobile/bind gate checks
// that it compiles, so that a change of the facade that Apple's side would feel is
// noticed on any machine.
#import <Foundation/Foundation.h>
#import "Mobile.objc.h"

@interface Post : NSObject <MobileTransport>
@end

@implementation Post
- (BOOL)send:(NSData *)body reply:(MobileReply *)reply error:(NSError **)error {
	[reply setStatus:200];
	[reply setRetryAfterMillis:0];
	[reply setBody:body];
	return YES;
}
@end

@interface Log : NSObject <MobileObserver>
@end

@implementation Log
- (BOOL)notice:(NSString *)level message:(NSString *)message error:(NSError **)error {
	return YES;
}
- (BOOL)rejected:(NSString *)id_ code:(NSString *)code field:(NSString *)field message:(NSString *)message error:(NSError **)error {
	return YES;
}
@end

int main(void) {
	NSError *error = nil;
	MobileConfig *config = MobileNewConfig();
	config.key = @"wk_example";
	config.context = MobileNewEventContext();
	config.context.platform = @"ios";
	MobileClient *client = MobileOpen(@"/tmp", config, [Post new], [Log new], &error);
	MobileProperties *properties = MobileNewProperties();
	[properties putString:@"plan" value:@"pro"];
	[properties putDouble:@"total" value:12.5];
	[client track:@"order_paid" p:properties error:&error];
	MobileTraits *traits = MobileNewTraits();
	[[traits setOnce] putLong:@"first_seen" value:1];
	[client identify:@"u1" t:traits error:&error];
	[client onBackground];
	[client flush:1000 error:&error];
	return [[client stats] queued] == 0 && [client close:1000 error:&error] ? 0 : 1;
}
